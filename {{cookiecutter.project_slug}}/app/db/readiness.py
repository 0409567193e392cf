"""Checks whether requests would succeed, once a second at most, however many callers ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from app.tasks import describe_error

logger = structlog.get_logger(__name__)

_LIMIT = 1.0
"""Seconds for one check; callers are answered within two, even on a busy machine."""
_REUSE = 1.0
"""Seconds for which a result is reused."""
NO_ANSWER = "the database does not answer"
"""The cause that means that even a read may hang, perhaps for ever."""
_FAILURE = "the database cannot be used"

Check = Callable[[], Awaitable[None]]
"""Raises if requests would fail; `Database.check` for example."""


class NotReadyError(Exception):
    """Requests would fail. The message, a cause and its remedy, may be shown to anybody."""


class Readiness:
    """Runs one check at a time; callers during it and for a second afterwards share the result."""

    def __init__(self) -> None:
        self._asking: asyncio.Task[str | None] | None = None
        self._expires = 0.0
        self._cause: str | None = None

    async def cause(self, check: Check) -> str | None:
        """Return why requests would fail, or None, after a second at most."""
        if self._asking is None or (self._asking.done() and time.monotonic() >= self._expires):
            self._asking = asyncio.create_task(self.ask(check))
        # With a timeout here, too: a driver that is cancelled may wait ten seconds for the server.
        done, _ = await asyncio.wait({self._asking}, timeout=_LIMIT)
        return self._asking.result() if done else NO_ANSWER

    async def ask(self, check: Check) -> str | None:
        """Run the check now; return the cause or None, and log it if it has changed."""
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
