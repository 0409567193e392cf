"""An event loop whose clock jumps to the next timer when there is nothing else to do."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

import pytest

_THREAD_TIMEOUT = 5.0
"""Real seconds to wait for another thread when no timer is set."""


class _Clock(selectors.BaseSelector):
    """A selector that moves its clock forward instead of waiting."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            events = self._real.select(_THREAD_TIMEOUT)
            if not events:
                msg = "deadlock: every task waits, no timer is set and no thread has answered"
                raise RuntimeError(msg)
            return events
        self.now += max(timeout, 0)
        return self._real.select(0)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Runs hours of timers in milliseconds, and always in the same order."""

    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


ON_VIRTUAL_TIME = [
    pytest.mark.usefixtures("anyio_backend", "virtual_time"),
    pytest.mark.parametrize(
        "anyio_backend", [("asyncio", {"loop_factory": VirtualTimeLoop})], ids=["virtual"]
    ),
]
"""Marks of a module whose tests run on a `VirtualTimeLoop`."""


def virtual_monotonic() -> float:
    """Replace `time.monotonic` in code that runs on the loop."""
    return asyncio.get_running_loop().time()


async def advance(seconds: float) -> None:
    """Let virtual time pass and everything that is due by then happen."""
    await asyncio.sleep(seconds)
    await settle()


async def settle() -> None:
    """Let everything that needs no time happen."""
    for _ in range(20):
        await asyncio.sleep(0)
