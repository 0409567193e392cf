"""What travels with a task to another process or beyond a restart, such as the request id."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


def _nothing() -> dict[str, str]:
    return {}


def _ignore(_: Mapping[str, str]) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Carrier:
    """Context variables cannot be stored; this says which of them matter, and as what text."""

    save: Callable[[], dict[str, str]] = _nothing
    """Called where a durable task is submitted."""
    restore: Callable[[Mapping[str, str]], None] = _ignore
    """Called in the context of the task, with what `save` returned."""


NOTHING_CARRIED = Carrier()
