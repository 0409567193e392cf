"""Deadlines: tells which runs have taken too long."""

import asyncio
import math
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic

from .job import Job

_EARLY = 0.001
"""Seconds by which the timer of an event loop may fire too soon."""
_KEPT_TIMERS = 100
"""More are there only when timeouts are computed for the single call."""


class Deadlines:
    """Ends runs that reach their timeout.

    A timer of asyncio costs more than a short task. Runs with the same timeout reach it in the
    order in which they began, so that one timer for all of them, set to the oldest, is enough.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[Job], None]) -> None:
        self._loop = loop
        # asyncio keeps cancelled timers for a while, and with them the context they were made in.
        self._context = copy_context()
        self._expire = expire
        self._runs: dict[float, dict[Job, None]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}

    def watch(self, job: Job) -> None:
        """Call `expire` when the run that has just begun takes longer than `job.timeout`."""
        timeout = job.timeout
        if timeout == math.inf:
            return
        runs = self._runs.get(timeout)
        if runs is None:
            runs = self._runs[timeout] = {}
            self._set_timer(timeout, timeout)
        runs[job] = None

    def forget(self, job: Job) -> None:
        """Note that a run has ended; it does not matter whether it is watched."""
        runs = self._runs.get(job.timeout)
        if runs is None:
            return
        runs.pop(job, None)
        if not runs and len(self._timers) > _KEPT_TIMERS:
            self._timers[job.timeout].cancel()
            self._drop(job.timeout)

    def _set_timer(self, timeout: float, delay: float) -> None:
        self._timers[timeout] = self._loop.call_later(
            delay, self._check, timeout, context=self._context
        )

    def _check(self, timeout: float) -> None:
        runs = self._runs[timeout]
        limit = monotonic() - timeout + _EARLY
        while runs:
            oldest = next(iter(runs))
            began = oldest.started_at or 0.0
            if began > limit:
                self._set_timer(timeout, began - limit + _EARLY)
                return
            del runs[oldest]
            self._expire(oldest)
        self._drop(timeout)

    def _drop(self, timeout: float) -> None:
        del self._runs[timeout], self._timers[timeout]
