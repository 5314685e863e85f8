"""Everything that can go wrong, by whose fault it is.

AgentError
├── ConfigError          a setting or the credentials: only a person can mend it; exit 78
├── HostTrouble          this machine or a service it needs: keep the job, wait, the same phase again
│   ├── ApiTrouble       the worker-facing API is away, refuses or talks nonsense
│   ├── AccountTrouble   the account may not work: refused login, 401 that stays
│   │   └── NotConfirmed its login is right, but no administrator made it a worker yet: 403
│   ├── StorageTrouble   a file's URL answers an error, stalls or cuts off
│   ├── EngineTrouble    Docker is away, hangs or fails for reasons of its own
│   │   ├── ImageMissing the image was here and is there no more
│   │   ├── NameTaken    somebody else's container has the name of ours
│   │   └── Unkillable   a container that SIGKILL does not end
│   └── DiskTrouble      no space, no permission, a broken disk
├── ServiceTrouble       the running agent refuses or fails what a command asked of it
│   └── ServiceDown      no agent listens on the control socket
├── JobFailed            the job's own fault: reported to its user as `error` with the reason
├── JobGone              404: the job was deleted or given to another worker; kill, clean, say nothing
└── Stopped              the agent was asked to stop; nothing is wrong

Each adapter translates its library's exceptions into this tree at one place.
"""


class AgentError(Exception):
    """The root: its text is one line, fit to be shown to a person."""


class ConfigError(AgentError):
    """A setting or the credentials are wrong; the text names the setting, its source and the fix."""


class HostTrouble(AgentError):
    """Not the job's fault. `retry_after_s`: seconds the other side asked us to wait, if it did."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ApiTrouble(HostTrouble):
    """The API did not do what it was asked. `status`: its HTTP status, None if none arrived."""

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.status = status


class AccountTrouble(HostTrouble):
    """The API or the login service refuses the account; the text says what its owner has to do."""


class NotConfirmed(AccountTrouble):
    """The API knows the account, but not as a worker: an administrator has to confirm it."""


class StorageTrouble(HostTrouble):
    """A transfer failed. `status`: the storage's HTTP status, None if none arrived."""

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.status = status


class EngineTrouble(HostTrouble):
    """Docker is away, hangs or fails for reasons that are not the job's."""


class ImageMissing(EngineTrouble):
    """Somebody removed the image between its pull and the container's start."""


class NameTaken(EngineTrouble):
    """Somebody else's container has the name of ours: it is never touched, its owner has to help."""


class Unkillable(EngineTrouble):
    """A container runs on after SIGKILL: its process hangs in the kernel (state D), its GPU is lost."""


class DiskTrouble(HostTrouble):
    """The disk is full, read-only, forbidden or broken."""


class ServiceTrouble(AgentError):
    """The running agent does not do what a command asked of it; the text says why and what to do."""


class ServiceDown(ServiceTrouble):
    """No agent listens on the control socket."""


class JobFailed(AgentError):
    """The job's own fault. `reason` is what its user reads; it names the field, file or limit."""

    @property
    def reason(self) -> str:
        """What its user reads."""
        return str(self)


class JobGone(AgentError):
    """The API said 404: the job is not ours any more."""


class Stopped(AgentError):
    """The agent was asked to stop; the work goes on at the next start."""
