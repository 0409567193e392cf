"""Whether requests would work: found out once a second at most, however often anybody asks."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

logger = structlog.get_logger(__name__)

_LIMIT = 1.0
"""Seconds for one check; whoever asks is answered within two, on a busy machine too."""
_REUSE = 1.0
"""Seconds for which an answer is given again."""

Check = Callable[[], Coroutine[object, object, None]]
"""Raises what would make requests fail, such as `Database.check`."""
Sessions = Callable[..., AbstractAsyncContextManager[AsyncSession]]
"""`Database.session`."""


class NotReadyError(Exception):
    """Requests would fail. `cause` may be told to anybody, `remedy` is for the log."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}: {remedy}")
        self.cause = cause
        self.remedy = remedy


class Readiness:
    """Runs one check at a time, and gives its result to all who ask meanwhile and soon after."""

    def __init__(self) -> None:
        self._checking: asyncio.Task[None] | None = None
        self._answer: asyncio.Task[str | None] | None = None
        self._expires = 0.0
        self._cause: str | None = None

    async def cause(self, check: Check) -> str | None:
        """Return why requests would fail, or None, after a second at most."""
        if self._answer is None or (self._answer.done() and time.monotonic() >= self._expires):
            self._answer = asyncio.create_task(self.ask(check))
        return await asyncio.shield(self._answer)

    async def ask(self, check: Check) -> str | None:
        """Return the same after a check of its own, and log it if it is not what it was before."""
        problem = await self._problem(check)
        cause = problem.cause if problem else None
        if cause != self._cause:
            _log(problem)
        self._cause, self._expires = cause, time.monotonic() + _REUSE
        return cause

    async def _problem(self, check: Check) -> NotReadyError | None:
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(check())
        checking = self._checking
        await asyncio.wait({checking}, timeout=_LIMIT)
        if not checking.done() and not checking.cancelling():
            checking.cancel()  # not waited for: a driver may take ten seconds to tell the server
        if not checking.done() or checking.cancelled():
            remedy = "see whether its server hangs, or requests hold all of DATABASE_POOL_SIZE"
            return NotReadyError("the database does not answer", remedy)
        return _as_problem(checking.exception())


def _as_problem(error: BaseException | None) -> NotReadyError | None:
    if error is None or isinstance(error, NotReadyError):
        return error
    remedy = "if the database cannot be reached, start it or correct DATABASE_URL"
    problem = NotReadyError("the database does not answer", remedy)
    problem.__cause__ = error
    return problem


def _log(problem: NotReadyError | None) -> None:
    if problem is None:
        logger.info("ready again")
        return
    error = problem.__cause__ and str(getattr(problem.__cause__, "orig", problem.__cause__))
    logger.error("not ready", cause=problem.cause, remedy=problem.remedy, error=error)
