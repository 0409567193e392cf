"""A loop of the engine: repeats a step after a pause, or sooner when it is woken."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from sqlalchemy.exc import DBAPIError

from .redaction import describe_error


class Loop:
    """Repeats `step` until stopped, whatever it raises: a database may be down for hours."""

    def __init__(self, name: str, step: Callable[[], Awaitable[None]], pause: float) -> None:
        self._name = name
        self._step = step
        self.pause = pause
        self._woken = asyncio.Event()
        self.stepped = asyncio.Event()
        """Set, and replaced by another, whenever the step has ended."""
        self._next_at = 0.0
        self._stopped = False
        self._failure = ""
        self._logger = logging.getLogger(__name__)

    def wake(self) -> None:
        """Run the step soon, and once more if it is running now."""
        self.wake_at(0.0)

    def wake_at(self, time: float) -> None:
        """Run the step at `time` (of `time.monotonic()`) at the latest."""
        if time < self._next_at:
            self._next_at = time
            self._woken.set()

    def stop(self) -> None:
        """End `run` after its current step, which might leave a lock if it were cancelled."""
        self._stopped = True
        self._woken.set()

    async def run(self) -> None:
        """Repeat the step until stopped."""
        while not self._stopped:
            self._next_at = monotonic() + self.pause
            try:
                await self._step()
            except Exception as error:  # noqa: BLE001 - if the loop ended, leases would run out
                self._log_failure(error)
                self._next_at = monotonic() + self.pause  # even if it was woken meanwhile
            else:
                if self._failure:
                    self._logger.warning("%s works again", self._name)
                self._failure = ""
            self.stepped.set()
            self.stepped = asyncio.Event()
            await self._wait()

    async def _wait(self) -> None:
        while not self._stopped and (pause := self._next_at - monotonic()) > 0:
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    def _log_failure(self, error: Exception) -> None:
        """Log a failure in one line if it is another than the last, the first with its traceback.

        A database error is logged without one: a missing migration would fill screens per loop.
        """
        failure = describe_error(error)
        if failure != self._failure:
            trace = None if self._failure or isinstance(error, DBAPIError) else error
            self._logger.error("%s failed: %s", self._name, failure, exc_info=trace)
        self._failure = failure
