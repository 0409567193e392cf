"""A loop beside the tasks: repeats a step after a pause, or sooner when it is woken."""

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
        self._changed = asyncio.Event()
        self._stepped = asyncio.Event()
        self._next = 0.0
        self._stopped = False
        self._failing = False
        self._logger = logging.getLogger(__name__)

    def wake(self) -> None:
        """Run the step soon; again, if it is just running."""
        self.wake_at(0.0)

    def wake_at(self, time: float) -> None:
        """Run the step at a time of `time.monotonic()`, or before."""
        if time < self._next:
            self._next = time
            self._changed.set()

    def stop(self) -> None:
        """Let `run` end after its present step: to be cut off might lock the database."""
        self._stopped = True
        self._changed.set()

    async def run(self) -> None:
        """Repeat the step until stopped."""
        while not self._stopped:
            self._next = monotonic() + self.pause
            try:
                await self._step()
            except Exception as error:  # noqa: BLE001 - without it leases would run out
                self._log_failure(error)
                self._next = monotonic() + self.pause  # do not hurry to fail again
            else:
                if self._failing:
                    self._logger.warning("%s works again", self._name)
                self._failing = False
            self._stepped.set()
            self._stepped = asyncio.Event()
            await self._wait()

    async def next_step(self) -> None:
        """Wait until the step has been run once more."""
        await self._stepped.wait()

    async def _wait(self) -> None:
        while not self._stopped and (pause := self._next - monotonic()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    def _log_failure(self, error: Exception) -> None:
        """Log one line for each failure, with a traceback for the first unless a database spoke.

        What that says needs none, and a missing migration would fill screens of every loop.
        """
        trace = None if self._failing or isinstance(error, DBAPIError) else error
        self._logger.error("%s failed: %s", self._name, describe_error(error), exc_info=trace)
        self._failing = True
