"""Kills the agent before or after its n-th side effect: every later one dies too, as after SIGKILL."""

from collections.abc import Callable
from typing import Any, Self


class Killed(BaseException):
    """SIGKILL, as far as Python code can feel it."""


class Doom:
    """Counts side effects; each has a moment before and one after it. `at` is the fatal moment."""

    def __init__(self, at: int | None) -> None:
        self.moments = 0
        self.struck = ""
        self._at = at

    def pass_moment(self, name: str) -> None:
        """Raise `Killed` at the fatal moment and ever after."""
        if self.struck:
            raise Killed(self.struck)
        if self.moments == self._at:
            self.struck = name
            raise Killed(name)
        self.moments += 1

    def over(self, port: Any, *wrapped: str) -> Any:
        """The port with every method in the shadow of doom; what `wrapped` methods return, too."""
        return _Shadow(port, self, frozenset(wrapped))


class _Shadow:
    def __init__(self, port: Any, doom: Doom, wrapped: frozenset[str]) -> None:
        self._port = port
        self._doom = doom
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        return self._shadow(name, value) if callable(value) else value

    def _shadow(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        full_name = f"{type(self._port).__name__}.{name}"

        def call(*args: Any, **kwargs: Any) -> Any:
            self._doom.pass_moment(f"before {full_name}")
            result = method(*args, **kwargs)
            try:
                self._doom.pass_moment(f"after {full_name}")
            except Killed:
                if hasattr(result, "close"):  # the kernel closes what a dead process had open
                    result.close()
                raise
            return self._doom.over(result) if name in self._wrapped else result

        return call

    def __enter__(self) -> Self:
        self._port.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._port.__exit__(*exc)
