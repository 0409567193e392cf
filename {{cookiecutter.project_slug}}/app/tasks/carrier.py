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


def carry_all(**carriers: Carrier) -> Carrier:
    """Make one carrier of several; the names keep what they save apart."""

    def save() -> dict[str, str]:
        return {
            f"{name}.{key}": value
            for name, carrier in carriers.items()
            for key, value in carrier.save().items()
        }

    def restore(saved: Mapping[str, str]) -> None:
        for name, carrier in carriers.items():
            prefix = f"{name}."
            own = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
            if own:
                carrier.restore(own)

    return Carrier(save, restore)
