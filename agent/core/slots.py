"""How the machine is shared out, and what is offered to the API for a share."""

from dataclasses import dataclass

from agent.core.models import Gpu, Offer, Slot

RESERVED_MIB = 1024
"""Memory that is never offered: the system, Docker and the agent live on it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to share; memory in MiB."""

    memory_mib: int
    cpu_cores: int
    gpus: tuple[Gpu, ...] = ()


def slots_of(
    machine: Machine, memory_cap_mib: int | None = None, cpu_cap: float | None = None
) -> tuple[Slot, ...]:
    """One slot for each GPU, memory and cores divided evenly; one slot without a GPU if there is none.

    The caps are what a job may use at most: a slot offers no more.
    """
    shares = max(1, len(machine.gpus))
    memory_mib = max(256, machine.memory_mib - RESERVED_MIB) // shares
    memory_mib = min(memory_mib, memory_cap_mib or memory_mib)
    cpu_cores = machine.cpu_cores // shares
    cpu_cores = max(1, min(cpu_cores, int(cpu_cap or cpu_cores)))
    if not machine.gpus:
        return (Slot(0, memory_mib, cpu_cores),)
    return tuple(Slot(index, memory_mib, cpu_cores, (gpu,)) for index, gpu in enumerate(machine.gpus))


def offer_of(slot: Slot, groups: tuple[str, ...]) -> Offer:
    """What GET /jobs is asked with for this slot; with several GPUs the smallest one counts."""
    if not slot.gpus:
        return Offer(slot.memory_mib, slot.cpu_cores, groups=groups)
    gpu = min(slot.gpus, key=lambda one: one.memory_mib)
    return Offer(
        slot.memory_mib,
        slot.cpu_cores,
        gpu_mem_mib=gpu.memory_mib,
        gpu_model=gpu.model,
        gpu_archi=gpu.architecture or None,
        groups=groups,
    )
