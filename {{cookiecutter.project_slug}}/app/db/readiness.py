"""Whether requests would work: found out once a second at most, however often anybody asks."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from app.tasks import describe_error

logger = structlog.get_logger(__name__)

_LIMIT = 1.0
"""Seconds for one check; whoever asks is answered within two, on a busy machine too."""
_REUSE = 1.0
"""Seconds for which an answer is given again."""
NO_ANSWER = "the database does not answer"
"""A cause: whoever reads would wait, perhaps for ever."""
_FAILURE = "the database cannot be used"

Check = Callable[[], Awaitable[None]]
"""Raises what would make requests fail, such as `Database.check`."""


class NotReadyError(Exception):
    """Requests would fail; the cause and its remedy may be told to anybody."""


class Readiness:
    """Runs one check at a time, and gives its result to all who ask meanwhile and soon after."""

    def __init__(self) -> None:
        self._asking: asyncio.Task[str | None] | None = None
        self._expires = 0.0
        self._cause: str | None = None

    async def cause(self, check: Check) -> str | None:
        """Return why requests would fail, or None, after a second at most."""
        if self._asking is None or (self._asking.done() and time.monotonic() >= self._expires):
            self._asking = asyncio.create_task(self.ask(check))
        # A driver that is cancelled may take ten seconds to tell the server: it is not waited for.
        done, _ = await asyncio.wait({self._asking}, timeout=_LIMIT)
        return self._asking.result() if done else NO_ANSWER

    async def ask(self, check: Check) -> str | None:
        """Run the check now; return the cause, or None, and log it when it has changed."""
        cause = error = None
        try:
            async with asyncio.timeout(_LIMIT):
                await check()
        except NotReadyError as problem:
            cause = str(problem)
        except Exception as problem:  # noqa: BLE001 - whatever it is, requests would fail
            cause = NO_ANSWER if isinstance(problem, TimeoutError) else _FAILURE
            error = describe_error(problem)
        if cause is not None and cause != self._cause:
            logger.error("not ready", cause=cause, error=error)
        elif cause != self._cause:
            logger.info("ready again")
        self._cause, self._expires = cause, time.monotonic() + _REUSE
        return cause
