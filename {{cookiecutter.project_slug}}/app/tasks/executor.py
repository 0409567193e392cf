"""Runs a job once: its context, its timeout, on the loop or in a thread, and its outcome."""

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from functools import partial
from time import monotonic, time
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from .context import running_task
from .errors import PoisonedError
from .info import TaskState
from .job import STOPPED, Job, Stop
from .observers import Observers
from .retry import Snooze
from .threads import TaskThreads

_LAZY_RESULTS = (CoroutineType, GeneratorType, AsyncGeneratorType)


class Executor:
    """Gives each run exactly one outcome, whatever happens in it. Not thread-safe.

    `report_outcome` is called with the outcome of a run, which is QUEUED for a retry, and `release`
    when the run no longer needs its slot.
    """

    def __init__(
        self,
        call_later: Callable[..., asyncio.TimerHandle],
        provided: Mapping[ContextVar[Any], Any],
        observers: Observers,
        report_outcome: Callable[[Job, TaskState], None],
        release: Callable[[Job], None],
    ) -> None:
        self._call_later = call_later
        self._provided = provided
        self._base_context = copy_context()
        """The context of the start: a task gets from it what its submitter has not set."""
        self._observers = observers
        self._report_outcome = report_outcome
        self._release = release
        self._threads = TaskThreads()
        # asyncio cancels every task when the process is ending, after a second Ctrl-C for example.
        # Before `close` nothing else cancels the sentinel, so its cancellation shows this.
        self._sentinel = asyncio.create_task(asyncio.Event().wait())

    async def run(self, job: Job) -> None:
        """Run a job in the current context, which is for this run only.

        Returns when the function has returned. If a sync function outlives its timeout, its outcome
        is reported before that.
        """
        error: BaseException | None = None
        try:
            self._complete_context(job)
            if job.stop is None:  # it may have been cancelled before it began
                error = await self._call(job)
            thread, job.thread = job.thread, None
            await self._conclude(job, error)
            if thread is not None and job.stop is Stop.TIMEOUT:
                await asyncio.wait((thread,))  # it cannot be stopped, and keeps its slot
        finally:
            self._release(job)
            del job, error  # the task's frames may keep this frame, as on Python 3.13

    def stop(self, job: Job, why: Stop) -> bool:
        """Cancel a run; return False if it has ended."""
        if job.asyncio_task is None:
            return False
        job.stop = why
        # A coroutine that is cancelled before its first step is never entered, so that the end of
        # the job would not be reported: `run` checks `job.stop` instead.
        return job.started_at is None or job.asyncio_task.cancel()

    def close(self) -> None:
        """Run no more jobs, and end the threads."""
        self._sentinel.cancel()
        self._threads.close()

    def _complete_context(self, job: Job) -> None:
        """Add the runner's variables to the run's copy of the submitter's context."""
        for variable, value in self._base_context.items():
            if variable not in job.context:
                variable.set(value)
        for variable, value in self._provided.items():
            variable.set(value)
        running_task.set(job)

    async def _call(self, job: Job) -> BaseException | None:
        """Call the function once; return what it raised."""
        job.attempt += 1
        job.started_at = monotonic()
        self._observers.notify("started", job)
        timer = self._call_later(job.timeout, self._time_out, job)
        try:
            if job.is_async:
                await job.func(*job.args, **job.kwargs)
            else:
                await self._call_in_thread(job)
        except BaseException as raised:  # noqa: BLE001 - not even sys.exit() ends the service
            return _without_own_frames(raised)
        finally:
            timer.cancel()
            del job  # as above
        return None

    def _time_out(self, job: Job) -> None:
        if job.stop is None:  # the cleanup of a cancelled task may take longer
            self.stop(job, Stop.TIMEOUT)

    async def _call_in_thread(self, job: Job) -> None:
        call = partial(copy_context().run, job.func, *job.args, **job.kwargs)
        job.thread = self._threads.call(call)
        await asyncio.wait((job.thread,))
        result, error = job.thread.result()
        if error is not None:
            raise error
        if isinstance(result, _LAZY_RESULTS):
            if not isinstance(result, AsyncGeneratorType):
                result.close()  # avoids the warning "was never awaited"
            kind = type(result).__name__
            msg = f"{job.name} returned a {kind} that nobody would run; use an async function"
            raise TypeError(msg)

    async def _conclude(self, job: Job, error: BaseException | None) -> None:
        """Decide the outcome of a run, record it, and report it."""
        if error is not None and job.stop is None and self._sentinel.cancelling():
            job.stop = Stop.LOST  # the process is ending: another runs a durable task again
        job.asyncio_task = None  # from here on it is too late to cancel
        if job.stop is Stop.TIMEOUT:
            error = TimeoutError(f"{job.name} took longer than {job.timeout:g} s")
        if job.started_at is not None:  # otherwise it was cancelled before it began
            job.duration = monotonic() - job.started_at
            job.error = error
        state = _outcome(job)
        if job.recorder is not None:
            await job.recorder.record(job, state)
        self._report_outcome(job, state)


def _outcome(job: Job) -> TaskState:
    """Return the state of a job after a run; QUEUED if it runs again, in `job.retry_in` seconds."""
    if job.stop in STOPPED:
        return TaskState.CANCELLED
    if job.error is None:
        return TaskState.SUCCEEDED
    if isinstance(job.error, PoisonedError):
        return TaskState.DEAD
    if isinstance(job.error, Snooze):
        return _snooze(job, job.error.seconds)
    timed_out = job.stop is Stop.TIMEOUT
    # The thread of a sync function that timed out still runs: a retry would run beside it.
    in_thread = timed_out and not job.is_async
    if job.retry is not None and not in_thread and job.retry.wants(job.error, job.attempt):
        job.retry_in = job.retry.wait(job.attempt)
        return TaskState.QUEUED
    return TaskState.TIMED_OUT if timed_out else TaskState.FAILED


def _snooze(job: Job, seconds: float) -> TaskState:
    if time() + seconds > job.created_at + Snooze.LIMIT:
        days = Snooze.LIMIT / 86400
        job.error = TimeoutError(f"{job.name} was snoozed for more than {days:g} days")
        return TaskState.FAILED
    job.retry_in = seconds
    job.error = None  # a snooze is no failure
    job.attempt -= 1  # and no attempt
    return TaskState.QUEUED


def _without_own_frames(error: BaseException) -> BaseException:
    """Drop the frames of this file from a traceback.

    They are noise, and they refer to the job, which refers to the error: a cycle that would keep a
    failed task in memory until the garbage collector runs.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return error.with_traceback(trace)
