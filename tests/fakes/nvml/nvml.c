/* A stand-in libnvidia-ml.so.1 that reads its GPUs from the file that NVML_FAKE_FILE names.
 *
 * One line each: `init CODE` (what nvmlInit answers), `hang` (it never does), `crash`, or a GPU as
 * `gpu ERROR ARCHITECTURE MEMORY_BYTES UUID MODEL…`; ERROR other than 0 is what its handle costs. `use PERCENT`
 * is the utilisation of the GPU in the line before; one without such a line cannot tell.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 16

typedef struct {
  int error;
  unsigned architecture;
  unsigned long long memory;
  char uuid[96], model[96];
  int percent;
} gpu_t;
typedef struct { unsigned gpu, memory; } use_t;
typedef struct { unsigned long long total, free, used; } memory_t;

static gpu_t gpus[MOST];
static unsigned count;

int nvmlInitWithFlags(unsigned flags) {
  int code = 0;
  char line[512];
  const char *path = getenv("NVML_FAKE_FILE");
  FILE *file = path ? fopen(path, "r") : NULL;
  (void)flags;
  if (!file) return 9; /* driver not loaded */
  count = 0;
  while (fgets(line, sizeof line, file)) {
    gpu_t *gpu = &gpus[count];
    if (!strncmp(line, "hang", 4)) pause();
    if (!strncmp(line, "crash", 5)) abort();
    sscanf(line, "init %d", &code);
    if (count > 0) sscanf(line, "use %d", &gpus[count - 1].percent);
    if (count < MOST && sscanf(line, "gpu %d %u %llu %95s %95[^\n]", &gpu->error, &gpu->architecture,
                               &gpu->memory, gpu->uuid, gpu->model) == 5) {
      gpu->percent = -1;
      count++;
    }
  }
  fclose(file);
  return code;
}

int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the stand-in"; }

int nvmlDeviceGetCount_v2(unsigned *found) { *found = count; return 0; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu_t **device) {
  if (index >= count) return 2;
  *device = &gpus[index];
  return gpus[index].error;
}

int nvmlDeviceGetUUID(gpu_t *device, char *text, unsigned size) {
  snprintf(text, size, "%s", device->uuid);
  return 0;
}

int nvmlDeviceGetName(gpu_t *device, char *text, unsigned size) {
  snprintf(text, size, "%s", device->model);
  return 0;
}

int nvmlDeviceGetArchitecture(gpu_t *device, unsigned *architecture) {
  *architecture = device->architecture;
  return device->architecture ? 0 : 13; /* function not found, as in an old driver */
}

int nvmlDeviceGetMemoryInfo(gpu_t *device, memory_t *memory) {
  memory->total = device->memory;
  memory->free = device->memory;
  memory->used = 0;
  return 0;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, gpu_t **device) {
  for (unsigned index = 0; index < count; index++)
    if (!strcmp(gpus[index].uuid, uuid)) return nvmlDeviceGetHandleByIndex_v2(index, device);
  return 6; /* not found */
}

int nvmlDeviceGetUtilizationRates(gpu_t *device, use_t *use) {
  if (device->percent < 0) return 3; /* not supported */
  use->gpu = (unsigned)device->percent;
  use->memory = 0;
  return 0;
}
