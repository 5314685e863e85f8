"""Whose fault it is when the engine refuses. The texts are real ones."""

import pytest

from agent.core import engine_faults as faults
from agent.core.engine_models import ContainerFact, ContainerStatus
from agent.core.errors import DiskTrouble, EngineTrouble, ImageMissing, JobFailed, Unkillable

IMAGE = "ghcr.io/lab/timeout-denied:1"
OCI = "OCI runtime create failed: container_linux.go:380: starting container process caused: "
OCI_NEW = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
    "runc create failed: unable to start container process: "
)


@pytest.mark.parametrize(
    "text",
    [
        f"pull access denied for {IMAGE}, repository does not exist or may require 'docker login': denied",
        (
            "pull access denied for ghcr.io/lab/timeout-denied, repository does not exist or may require "
            "'docker login': denied: requested access to the resource is denied"
        ),
        f"manifest for {IMAGE} not found: manifest unknown: manifest unknown",
        f"manifest for {IMAGE} not found: name unknown: repository name not known to registry",
        'Head "https://ghcr.io/v2/lab/timeout-denied/manifests/1": denied',
        f"no matching manifest for linux/amd64 in the manifest list entries: {IMAGE}",
        "no matching manifest for linux/arm64/v8 in the manifest list entries: no match for platform",
        f'failed to resolve reference "{IMAGE}": {IMAGE}: not found',
        'Head "https://ghcr.io/v2/lab/x/manifests/1": denied: denied',
        'Head "https://ghcr.io/v2/lab/x/manifests/1": unauthorized: authentication required',
        (
            "pull access denied, repository does not exist or may require authorization: server message: "
            "insufficient_scope: authorization failed"
        ),
        "invalid reference format",
        "invalid reference format: repository name must be lowercase",
    ],
)
def test_an_image_that_is_not_there_is_the_jobs_fault(text):
    fault = faults.pull_fault(IMAGE, text)
    assert isinstance(fault, JobFailed)
    assert fault.reason.startswith("image not found: ")
    assert IMAGE in fault.reason


@pytest.mark.parametrize(
    "text",
    [
        'Get "https://ghcr.io/v2/": dial tcp: lookup ghcr.io on 127.0.0.53:53: no such host',
        'Get "https://ghcr.io/v2/": dial tcp 127.0.0.1:5000: connect: connection refused',
        (
            'Get "https://ghcr.io/v2/": net/http: request canceled while waiting for connection '
            "(Client.Timeout exceeded while awaiting headers)"
        ),
        'Get "https://ghcr.io/v2/": context deadline exceeded',
        'Get "https://ghcr.io/v2/": x509: certificate signed by unknown authority',
        'Get "https://ghcr.io/v2/": net/http: TLS handshake timeout',
        'Get "https://ghcr.io/v2/": http: server gave HTTP response to HTTPS client',
        'Get "https://ghcr.io/v2/": EOF',
        "toomanyrequests: You have reached your pull rate limit.",
        "received unexpected HTTP status: 503 Service Unavailable",
        "error parsing HTTP 429 response body: invalid character: Too Many Requests (HAP429)",
        "read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer",
        "unexpected EOF",
        "proxyconnect tcp: dial tcp: lookup proxy: no such host",
        "failed to register layer: Error processing tar file(exit status 1): operation not permitted",
        "something that nobody has seen yet",
    ],
)
def test_a_registry_that_cannot_be_asked_is_the_hosts_trouble(text):
    fault = faults.pull_fault(IMAGE, text)
    assert type(fault) is EngineTrouble
    assert "registry" in str(fault)
    assert IMAGE in str(fault)


def test_a_full_disk_is_told_apart():
    text = "failed to register layer: write /x: no space left on device"
    for fault in (
        faults.pull_fault(IMAGE, text),
        faults.create_fault(IMAGE, "creating it", text),
        faults.start_fault("starting it", text),
        faults.engine_fault("doing it", text),
    ):
        assert isinstance(fault, DiskTrouble)
        assert "no space left on device" in str(fault)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("invalid reference format: repository name must be lowercase", "no valid name of an image"),
        ("No command specified", "the job has no command"),
        ("no command specified", "the job has no command"),
    ],
)
def test_what_create_refuses_for_the_job(text, reason):
    fault = faults.create_fault(IMAGE, "creating it", text)
    assert isinstance(fault, JobFailed)
    assert reason in fault.reason


def test_an_image_that_was_removed_meanwhile_is_not_the_jobs_fault():
    """It was seen here before a container was made of it."""
    fault = faults.create_fault(IMAGE, "creating it", f"No such image: {IMAGE}")
    assert isinstance(fault, ImageMissing)
    assert IMAGE in str(fault)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"No such image: {IMAGE}", f"image not found: {IMAGE}"),
        ("no such image: Lab/x: invalid reference format", "image not found"),
        ("invalid reference format", "no valid name of an image"),
    ],
)
def test_an_image_that_was_looked_for_in_vain_is_the_jobs_fault(text, reason):
    fault = faults.image_fault(IMAGE, "looking for it", text)
    assert isinstance(fault, JobFailed)
    assert reason in fault.reason
    assert type(faults.image_fault(IMAGE, "looking for it", "server error")) is EngineTrouble


@pytest.mark.parametrize(
    "text",
    [
        "Cannot kill container: x: tried to kill container, but did not receive an exit event",
        "Could not kill running container x - tried to kill container, but did not receive an exit event",
        "could not kill container: tried to kill container, but did not receive an exit event",
        "PID 77 is zombie and can not be killed",
    ],
)
def test_a_container_that_outlives_sigkill_is_called_so(text):
    """Its slot is of no use until the machine is restarted."""
    assert isinstance(faults.kill_fault("decode-job-7", "ending it", text), Unkillable)
    assert type(faults.kill_fault("decode-job-7", "ending it", "context deadline exceeded")) is EngineTrouble


@pytest.mark.parametrize(
    "text",
    [
        "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        "invalid CapAdd: unknown capability: NONSENSE",
        'invalid mount config for type "bind": bind source path does not exist: /jobs/7',
        "Minimum memory limit allowed is 6MB",
    ],
)
def test_what_create_refuses_for_a_setting(text):
    fault = faults.create_fault(IMAGE, "creating container decode-job-7", text)
    assert type(fault) is EngineTrouble
    assert "creating container decode-job-7" in str(fault)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            f'{OCI}exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown',
            'exec: "/bin/sh": stat /bin/sh: no such file or directory',
        ),
        (
            f'{OCI_NEW}exec: "nothing": executable file not found in $PATH: unknown',
            'exec: "nothing": executable file not found in $PATH',
        ),
        (f'{OCI_NEW}exec: "/x": permission denied: unknown', 'exec: "/x": permission denied'),
        (
            f'{OCI_NEW}error during container init: exec: "/x": exec format error: unknown',
            'exec: "/x": exec format error',
        ),
        (
            "unable to find user nobody9: no matching entries in passwd file",
            "unable to find user nobody9: no matching entries in passwd file",
        ),
    ],
)
def test_a_command_that_cannot_be_started_is_the_jobs_fault(text, why):
    fault = faults.start_fault("starting it", text)
    assert isinstance(fault, JobFailed)
    assert fault.reason == f"command could not be started: {why}"


@pytest.mark.parametrize(
    "text",
    [
        'could not select device driver "" with capabilities: [[gpu]]',
        (
            f"{OCI}process_linux.go:545: container init caused: Running hook #0:: error running "
            "hook: exit status 1, stdout: , stderr: nvidia-container-cli: initialization error: nvml error"
        ),
        f'{OCI}exec: "docker-init": executable file not found in $PATH: unknown',
        'failed to create shim: exec: "containerd-shim-runc-v2": file does not exist: unknown',
        "network lab not found",
        "driver failed programming external connectivity on endpoint",
        "cannot allocate memory",
    ],
)
def test_what_the_host_lacks_is_the_hosts_trouble(text):
    assert type(faults.start_fault("starting it", text)) is EngineTrouble


def test_texts_are_one_line_of_bounded_length():
    for fault in (
        faults.engine_fault("doing it", "line\nline\r\n" * 1000),
        faults.pull_fault("x", "not found\n" * 1000),
        faults.create_fault("x" * 1000, "doing it", "invalid reference format"),
    ):
        assert "\n" not in str(fault)
        assert len(str(fault)) < 500


def fact(job_id, agent_id):
    return ContainerFact("decode-job-7", ContainerStatus.RUNNING, job_id, agent_id, 0.0)


def test_only_the_agent_that_made_a_container_may_touch_it():
    faults.check_owner(fact(7, "me"), "me")
    for job_id, agent_id in [(None, ""), (None, "me"), (8, "me"), (7, "you"), (7, "")]:
        with pytest.raises(EngineTrouble, match="decode-job-7"):
            faults.check_owner(fact(job_id, agent_id), "me")


def test_the_cause_is_what_lies_at_the_bottom():
    def fail():
        try:
            try:
                raise FileNotFoundError(2, "No such file or directory")
            except OSError as error:
                raise ConnectionError("aborted", error) from error
        except OSError:
            raise RuntimeError("while asking") from None

    with pytest.raises(RuntimeError) as caught:
        fail()
    assert faults.cause_of(caught.value) == "No such file or directory"
    assert faults.cause_of(ValueError()) == "ValueError"


def test_a_half_started_container():
    """Only what containerd says of its task counts: a name that is taken is another matter."""
    assert faults.is_half_started(f"task {'0f' * 32}: already exists")
    assert faults.is_half_started("id already in use")
    assert not faults.is_half_started('the container name "/decode-job-7" is already in use')
    assert not faults.is_half_started("network decode already exists")
