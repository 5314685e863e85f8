"""What a doctor knows so far: a check may stand on what those before it saw."""

from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agent.adapters.credentials import Account
from agent.core.doctor_engine import EngineFacts
from agent.core.doctor_gpu import GpuFacts
from agent.core.doctor_sandbox import UnitReport
from agent.core.doctor_unit import UnitFacts
from agent.core.findings import Finding, State
from agent.settings import Loaded, Settings


@dataclass
class Case:
    """One machine under examination; None where something is not known (yet).

    `failed`: what failed so far, by what it is about; the same seen from the service is not said again.
    """

    arguments: Namespace
    unit: UnitFacts = field(default_factory=UnitFacts)
    loaded: Loaded | None = None
    has_bad_settings: bool = False
    account: Account | None = None
    from_unit: UnitReport | None = None
    engine: EngineFacts | None = None
    gpus: GpuFacts = field(default_factory=GpuFacts)
    failed: set[str] = field(default_factory=set)

    @property
    def settings(self) -> Settings:
        """The settings; where they cannot be read, what counts without any."""
        return self.loaded.settings if self.loaded else Settings(api_url="https://unknown.invalid")

    @property
    def env_file(self) -> Path | None:
        """The one to read: that of the command line, else the service's."""
        given: Path | None = self.arguments.env_file
        return given or (Path(self.unit.env_file) if self.unit.env_file else None)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at. `doing`: what a person is told meanwhile; `fix`: where it fails as such."""

    about: str
    doing: str
    look: Callable[[Case], Iterable[Finding]]
    limit_s: float
    fix: str = "run this again; then look at: sudo journalctl -n 50"


def needs_root(about: str, what: str) -> Finding:
    """A line for what this user may not see."""
    return Finding(about, State.SKIPPED, f"{what}: needs root")


def needs_settings(about: str) -> Finding:
    """A line for what cannot be asked without settings."""
    return Finding(about, State.SKIPPED, "needs the settings")
