"""Whether requests would work: found out once a second at most, however often anybody asks."""

import asyncio
import time
from collections.abc import Callable, Coroutine

import structlog

from app.db import NotReadyError

logger = structlog.get_logger(__name__)

_LIMIT = 1.0
"""Seconds for one check; whoever asks is answered within two, on a busy machine too."""
_REUSE = 1.0
"""Seconds for which an answer is given again."""


class Readiness:
    """Runs one check at a time, and gives its result to all who ask meanwhile and soon after."""

    def __init__(self, check: Callable[[], Coroutine[object, object, None]]) -> None:
        self._check = check
        self._checking: asyncio.Task[None] | None = None
        self._answer: asyncio.Task[str | None] | None = None
        self._expires = 0.0
        self._cause: str | None = None

    async def cause(self) -> str | None:
        """Return why requests would fail, or None, after a second at most."""
        if self._answer is None or (self._answer.done() and time.monotonic() >= self._expires):
            self._answer = asyncio.create_task(self.ask())
        return await asyncio.shield(self._answer)

    async def ask(self) -> str | None:
        """Return the same after a check of its own, and log it if it is not what it was before."""
        problem = await self._problem()
        cause = problem.cause if problem else None
        if cause != self._cause:
            _log(problem)
        self._cause, self._expires = cause, time.monotonic() + _REUSE
        return cause

    async def _problem(self) -> NotReadyError | None:
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())
        checking = self._checking
        await asyncio.wait({checking}, timeout=_LIMIT)
        if not checking.done() and not checking.cancelling():
            checking.cancel()  # and not waited for: psycopg tries for ten seconds to tell a server
        if not checking.done() or checking.cancelled():
            return NotReadyError("the database does not answer", "see whether its server hangs")
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
