"""The part of the runner that lives on the event loop: waiting, running, retrying, ending."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from itertools import chain, islice
from time import monotonic
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from .context import Background
from .deadlines import Deadlines
from .errors import PoisonedError
from .info import Snapshot, TaskState, TaskSummary
from .job import Job, Stop
from .observer import Observers, notify
from .places import Places
from .queue import JobQueue
from .threads import TaskThreads

logger = logging.getLogger(__name__)

# Every task passes these; finding a member of an enum by its name costs as much as three calls.
_QUEUED, _RUNNING, _SUCCEEDED = TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED
_TIMEOUT = Stop.TIMEOUT
_FAILURES = (TaskState.FAILED, TaskState.TIMED_OUT, TaskState.DEAD)
_STOPPED = frozenset({Stop.CANCEL, Stop.SHUTDOWN, Stop.LOST})
_UNRUN = (CoroutineType, GeneratorType, AsyncGeneratorType)
_CANCEL_GRACE = 2.0
"""Seconds a cancelled task gets to clean up at shutdown."""


class Engine:
    """Takes jobs that have a place and brings each to exactly one end. Not thread-safe."""

    def __init__(
        self,
        max_concurrency: int,
        aging: float,
        places: Places,
        observers: Observers,
        background: Background,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        # For timers: asyncio keeps cancelled ones, and with them the context they were made in.
        self._context = copy_context()
        self._max_concurrency = max_concurrency
        self._places = places
        self._observers = observers
        self._background = background
        self._queue = JobQueue(self._loop, aging, self._dispatch)
        self._threads = TaskThreads()
        self._deadlines = Deadlines(self._loop, self._time_out)
        self._jobs: dict[str, Job] = {}
        self._slots_used = 0
        self._closed = False
        # asyncio cancels every task when the process is going, after a second Ctrl-C for example.
        # This one nobody else cancels, so it tells such a cancellation from any other.
        self._alive = self._loop.create_task(asyncio.Event().wait())
        self._totals = dict.fromkeys(TaskState, 0)
        self._retried = 0
        self.freed: Callable[[], None] = _nothing
        """Called when a run has ended."""
        self.idle = asyncio.Event()
        self.idle.set()

    def enqueue(self, job: Job) -> None:
        """Let a job with a place wait for its turn, from `job.delay` seconds on.

        A delay below 0 says for how long it has been due elsewhere.
        """
        if not self._jobs:
            self.idle.clear()
        self._jobs[job.id] = job
        notify(self._observers.queued, job)
        self._wait(job, job.delay)

    def find(self, task_id: str) -> Job | None:
        """Return a job that has not ended."""
        return self._jobs.get(task_id)

    def reject(self, job: Job) -> None:
        """Count a job that got no place."""
        job.state = TaskState.REJECTED
        self._totals[TaskState.REJECTED] += 1
        notify(self._observers.rejected, job)

    def cancel(self, task_id: str, why: Stop = Stop.CANCEL) -> bool:
        """Cancel a job; False if it is unknown, over, or in a thread."""
        job = self._jobs.get(task_id)
        if job is None or job.stop in _STOPPED:
            return False
        if job.state is TaskState.RUNNING:
            return (job.is_async or job.started_at is None) and self._stop(job, why)
        self._cancel_waiting(job, why)
        return True

    async def cancel_all(self) -> list[Job]:
        """Cancel every job, give the running ones a moment, and return what was left."""
        self._closed = True
        left = list(self._jobs.values())
        for job in left:
            if job.state is TaskState.QUEUED:
                self._cancel_waiting(job, Stop.SHUTDOWN)
            else:
                self._stop(job, Stop.SHUTDOWN)
        try:
            async with asyncio.timeout(_CANCEL_GRACE):
                await self.idle.wait()
        except TimeoutError:
            logger.error("%d cancelled tasks did not stop", len(self._jobs))
        return left

    @property
    def free_slots(self) -> int:
        """How many more jobs could run now."""
        return self._max_concurrency - self._slots_used

    @property
    def crowded(self) -> bool:
        """Whether jobs wait for nothing but a free slot."""
        return len(self._queue) > 0

    def close(self) -> None:
        """Start nothing more, and let the threads go."""
        self._closed = True
        self._alive.cancel()
        self._threads.close()

    def snapshot(self, limit: int | None) -> Snapshot:
        """Return totals and the first `limit` jobs of each state; all of them if it is None."""
        now = monotonic()
        jobs = self._jobs.values()
        totals = self._totals
        depth = Counter(job.priority for job in jobs if job.state is TaskState.QUEUED)
        running = (job for job in jobs if job.state is TaskState.RUNNING)
        queued = (job for job in jobs if job.state is TaskState.QUEUED)
        shown = jobs if limit is None else chain(islice(running, limit), islice(queued, limit))
        return Snapshot(
            queued=depth.total(),
            running=sum(job.state is TaskState.RUNNING for job in jobs),
            succeeded=totals[TaskState.SUCCEEDED],
            failed=sum(totals[state] for state in _FAILURES),
            timed_out=totals[TaskState.TIMED_OUT],
            cancelled=totals[TaskState.CANCELLED],
            retried=self._retried,
            rejected=totals[TaskState.REJECTED],
            queue_depth=depth,
            tasks=tuple(_summary(job, now) for job in shown),
        )

    def _wait(self, job: Job, delay: float) -> None:
        if self._closed:
            logger.warning("task %s (%s) came after the shutdown", job.name, job.id)
            self._cancel_waiting(job, Stop.SHUTDOWN)
        elif delay > 0:
            job.queued_at = monotonic() + delay
            job.timer = self._loop.call_later(delay, self._due, job, context=self._context)
        else:
            self._queue.push(job, since=-delay)
            self._dispatch()

    def _due(self, job: Job) -> None:
        job.timer = None
        self._queue.push(job)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._slots_used < self._max_concurrency and not self._closed:
            job = self._queue.pop()
            if job is None:
                return
            self._start(job)

    def _start(self, job: Job) -> None:
        self._slots_used += 1
        self._places.give_back()
        job.state = _RUNNING
        job.attempt += 1
        job.started_at = None
        job.duration = None
        context = job.context.copy()  # what one attempt sets, the next does not see
        run = self._run(job, context)
        job.run = self._loop.create_task(run, name=job.name, context=context)

    async def _run(self, job: Job, context: Context) -> None:
        """Run a job once, in a context. Whatever happens in it, the engine goes on."""
        self._background.enter(job, context)
        error: BaseException | None = None
        try:
            error = await self._attempt(job)
            if job.state is _RUNNING:  # or its end has been told: a thread that took too long
                await self._settle(job, error)
        finally:
            self._free(job)
            del job, error, context  # the traceback of an error may keep this frame

    async def _attempt(self, job: Job) -> BaseException | None:
        """Call the function once; return what it raised."""
        try:
            if job.ledger is not None and not await job.ledger.begin(job):
                job.stop = Stop.LOST
            if job.stop is None:  # it may have been cancelled before it began
                job.started_at = monotonic()
                notify(self._observers.started, job)
                if job.is_async:
                    # Not asyncio.timeout(): nobody else cancels this asyncio.Task.
                    self._deadlines.watch(job)
                    await job.func(*job.args, **job.kwargs)
                else:
                    await self._call_in_thread(job)
        except BaseException as raised:  # not even sys.exit() ends the service
            if not self._loop.is_running():  # the loop is gone, and nobody is left to tell
                raise
            return _without_engine(raised)
        finally:
            self._deadlines.forget(job)
            del job  # the traceback of an error may keep this frame
        return None

    async def _settle(self, job: Job, error: BaseException | None) -> None:
        """Write down how a run ended, and tell."""
        if error is not None and job.stop is None and self._alive.cancelling():
            job.stop = Stop.LOST  # the process is going, and somebody else runs it again
        state = self._judge(job, error)
        if job.ledger is not None:
            await _to_its_end(job.ledger.settle(job, state))
        self._conclude(job, state)

    def _free(self, job: Job) -> None:
        """Release what a run has held, and let others start."""
        self._slots_used -= 1
        self._queue.release(job)
        if job.state is _QUEUED and job.retry_in is not None:
            if job.repeats_elsewhere:
                self._places.give_back()
                del self._jobs[job.id]
                self._let_go(job)
            else:
                self._wait(job, job.retry_in)
        self._dispatch()
        self.freed()

    async def _call_in_thread(self, job: Job) -> None:
        call = self._threads.call(copy_context(), job.func, job.args, job.kwargs)
        if not await self._within(job.timeout, call):
            # A thread cannot be stopped: tell now, and keep the slots until it returns.
            job.stop = Stop.TIMEOUT
            await self._settle(job, None)
            await asyncio.wait((call,))
            return
        result, error = call.result()
        if error is not None:
            raise error
        if isinstance(result, _UNRUN):
            if not isinstance(result, AsyncGeneratorType):
                result.close()  # no warning beside the error
            kind = type(result).__name__
            msg = f"{job.name} returned a {kind} that nobody would run; use an async function"
            raise TypeError(msg)

    async def _within(self, limit: float, call: asyncio.Future[Any]) -> bool:
        if limit == math.inf:
            await asyncio.wait((call,))
            return True
        expired: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_later(limit, expired.set_result, None, context=self._context)
        try:
            await asyncio.wait((call, expired), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        return call.done()

    def _stop(self, job: Job, why: Stop) -> bool:
        if job.run is None:
            return False
        job.stop = why
        # asyncio would never enter a coroutine that is cancelled before its first step, and
        # nobody would see the end of the job.
        return job.started_at is None or job.run.cancel()

    def _time_out(self, job: Job) -> None:
        if job.stop is None:  # a cancelled task may take longer to clean up
            self._stop(job, Stop.TIMEOUT)

    def _judge(self, job: Job, error: BaseException | None) -> TaskState:
        """Decide what the run that has ended means for the task."""
        job.run = None  # from here on it is too late to cancel
        if job.started_at is not None:
            job.duration = monotonic() - job.started_at
        if job.stop is _TIMEOUT:
            error = TimeoutError(f"{job.name} took longer than {job.timeout:g} s")
        job.error = error
        state = self._outcome(job)
        if state is _QUEUED and job.retry is not None:
            job.retry_in = job.retry.wait(job.attempt)
        return state

    def _conclude(self, job: Job, state: TaskState) -> None:
        """Let the task go on or end, and tell."""
        if state is _QUEUED:
            self._requeue(job)
        else:
            self._end(job, state)

    def _outcome(self, job: Job) -> TaskState:
        if job.stop in _STOPPED:
            return TaskState.CANCELLED
        if job.error is None:
            return _SUCCEEDED
        # The thread of a sync function that timed out still runs: a retry would run beside it.
        if isinstance(job.error, PoisonedError):
            return TaskState.DEAD
        in_thread = job.stop is Stop.TIMEOUT and not job.is_async
        if job.retry is not None and not in_thread and job.retry.wants(job.error, job.attempt):
            return TaskState.QUEUED
        return TaskState.TIMED_OUT if job.stop is Stop.TIMEOUT else TaskState.FAILED

    def _requeue(self, job: Job) -> None:
        self._retried += 1
        self._places.take_back()
        job.state = TaskState.QUEUED
        job.stop = None
        notify(self._observers.retried, job)

    def _end(self, job: Job, state: TaskState) -> None:
        job.state = state
        self._totals[state] += 1
        del self._jobs[job.id]
        notify(self._observers.of(state), job)
        self._let_go(job)

    def _let_go(self, job: Job) -> None:
        job.let_go()
        if not self._jobs:
            self.idle.set()

    def _cancel_waiting(self, job: Job, why: Stop) -> None:
        self._places.give_back()
        if job.timer is not None:
            job.timer.cancel()
            job.timer = None
        job.stop = why
        job.duration = None
        context = job.context.copy()  # an observer of the job's own run may be what cancels it
        context.run(self._background.enter, job, context)
        context.run(self._end, job, TaskState.CANCELLED)
        if job.ledger is not None:
            job.ledger.drop(job)
        self._queue.discard(job)
        self._dispatch()


def _without_engine(error: BaseException) -> BaseException:
    """Drop the engine's frames from a traceback.

    They are noise, and they hold the job, which holds the error: a cycle that keeps the memory of
    a failed task until the garbage collector comes by.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return error.with_traceback(trace)


async def _to_its_end(write: Coroutine[Any, Any, None]) -> None:
    """Wait for a write, whatever is cancelled meanwhile: half of it would be worse than a wait."""
    writing = asyncio.ensure_future(write)
    while not writing.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait((writing,))


def _nothing() -> None:
    return None


def _summary(job: Job, now: float) -> TaskSummary:
    since = job.started_at if job.state is TaskState.RUNNING else job.queued_at
    age = now - (since or now)
    return TaskSummary(job.id, job.name, job.priority, job.state, job.attempt, age, job.timeout)
