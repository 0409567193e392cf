"""Propagation of context to another process or beyond a restart, such as that of the request id."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Propagator:
    """Context variables cannot be stored; this says which of them matter, and as what text."""

    inject: Callable[[], dict[str, str]] = dict
    """Returns what is to travel; called where a task is submitted."""
    extract: Callable[[Mapping[str, str]], None] = lambda _: None
    """Sets context variables from what `inject` returned; called in the context of the task."""


NO_PROPAGATION = Propagator()


def propagate_all(**propagators: Propagator) -> Propagator:
    """Make one propagator of several; their names keep apart what they inject."""

    def inject() -> dict[str, str]:
        return {
            f"{name}.{key}": value
            for name, propagator in propagators.items()
            for key, value in propagator.inject().items()
        }

    def extract(injected: Mapping[str, str]) -> None:
        for name, propagator in propagators.items():
            prefix = f"{name}."
            own = {k.removeprefix(prefix): v for k, v in injected.items() if k.startswith(prefix)}
            if own:
                propagator.extract(own)

    return Propagator(inject, extract)
