"""The part of the runner that lives on the event loop: waiting, running, retrying, ending."""

import asyncio
import logging
import math
from contextvars import copy_context
from time import monotonic

from .context import Background
from .info import Snapshot, TaskState, TaskSummary
from .job import Job, Stop
from .observer import Hook, Observers, notify
from .places import Places
from .queue import JobQueue
from .threads import TaskThreads

logger = logging.getLogger(__name__)

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
        self._max_concurrency = max_concurrency
        self._places = places
        self._observers = observers
        self._background = background
        self._queue = JobQueue(self._loop, aging, self._dispatch)
        self._threads = TaskThreads()
        self._jobs: dict[str, Job] = {}
        self._slots_used = 0
        self._totals = dict.fromkeys(TaskState, 0)
        self._retried = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def enqueue(self, job: Job) -> None:
        """Let a job with a place wait for its turn, from `job.delay` seconds on."""
        self._jobs[job.id] = job
        self.idle.clear()
        notify(self._observers.queued, job)
        self._wait(job, job.delay)

    def reject(self, job: Job) -> None:
        """Count a job that got no place."""
        job.state = TaskState.REJECTED
        self._totals[TaskState.REJECTED] += 1
        notify(self._observers.rejected, job)

    def cancel(self, task_id: str) -> bool:
        """Cancel a job; False if it is unknown, over, or in a thread."""
        job = self._jobs.get(task_id)
        if job is None or job.stop is not None:
            return False
        if job.state is TaskState.RUNNING:
            return job.is_async and self._stop(job, Stop.CANCEL)
        self._cancel_waiting(job)
        return True

    async def cancel_all(self) -> list[Job]:
        """Cancel every job, give the running ones a moment, and return what was left."""
        left = list(self._jobs.values())
        for job in left:
            if job.state is TaskState.QUEUED:
                self._cancel_waiting(job)
        running = [job for job in left if job.run is not None and not job.run.done()]
        for job in running:
            self._stop(job, Stop.CANCEL)
        if running:
            runs = {job.run for job in running if job.run is not None}
            _, deaf = await asyncio.wait(runs, timeout=_CANCEL_GRACE)
            if deaf:
                logger.error("%d cancelled tasks did not stop", len(deaf))
        return left

    def close(self) -> None:
        """Let the threads go."""
        self._threads.close()

    def snapshot(self) -> Snapshot:
        """Return totals and every live job."""
        now = monotonic()
        jobs = self._jobs.values()
        totals = self._totals
        return Snapshot(
            queued=sum(job.state is TaskState.QUEUED for job in jobs),
            running=sum(job.state is TaskState.RUNNING for job in jobs),
            succeeded=totals[TaskState.SUCCEEDED],
            failed=totals[TaskState.FAILED] + totals[TaskState.TIMED_OUT],
            timed_out=totals[TaskState.TIMED_OUT],
            cancelled=totals[TaskState.CANCELLED],
            retried=self._retried,
            rejected=totals[TaskState.REJECTED],
            tasks=tuple(_summary(job, now) for job in jobs),
        )

    def _wait(self, job: Job, delay: float) -> None:
        if delay > 0:
            job.queued_at = monotonic() + delay
            job.timer = self._loop.call_later(delay, self._due, job)
        else:
            self._due(job)

    def _due(self, job: Job) -> None:
        job.timer = None
        self._queue.push(job)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._slots_used < self._max_concurrency:
            job = self._queue.pop()
            if job is None:
                return
            self._start(job)

    def _start(self, job: Job) -> None:
        self._slots_used += 1
        self._places.give_back()
        job.state = TaskState.RUNNING
        job.attempt += 1
        job.started_at = monotonic()
        job.duration = None
        job.run = self._loop.create_task(self._run(job), context=job.context)

    async def _run(self, job: Job) -> None:
        """Run a job once. Whatever happens in it, the engine goes on."""
        self._background.enter(job, job.context)
        notify(self._observers.started, job)
        error: BaseException | None = None
        try:
            await (self._call(job) if job.is_async else self._call_in_thread(job))
        except GeneratorExit:  # the loop is gone, and nobody is left to tell
            raise
        except BaseException as raised:  # noqa: BLE001 - not even sys.exit() ends the service
            error = raised
        if job.state is TaskState.RUNNING:
            self._settle(job, error)
        self._slots_used -= 1
        self._queue.release(job)
        if job.state is TaskState.QUEUED and job.retry_in is not None:
            self._wait(job, job.retry_in)
        self._dispatch()
        del job, error  # a traceback holds this frame; do not let the frame hold the traceback

    async def _call(self, job: Job) -> None:
        # A timer and a flag instead of asyncio.timeout(): nobody else cancels this asyncio.Task,
        # and for a short task the difference is a tenth of the whole cost.
        if job.timeout == math.inf:
            await job.func(*job.args, **job.kwargs)
            return
        timer = self._loop.call_later(job.timeout, self._stop, job, Stop.TIMEOUT)
        try:
            await job.func(*job.args, **job.kwargs)
        finally:
            timer.cancel()

    async def _call_in_thread(self, job: Job) -> None:
        call = self._threads.call(copy_context(), job.func, job.args, job.kwargs)
        limit = None if job.timeout == math.inf else job.timeout
        done, _ = await asyncio.wait((call,), timeout=limit)
        if not done:
            # A thread cannot be stopped: tell now, and keep the slots until it returns.
            job.stop = Stop.TIMEOUT
            self._settle(job, None)
            await asyncio.wait((call,))
            return
        result, error = call.result()
        if error is not None:
            raise error
        if asyncio.iscoroutine(result):
            result.close()
            msg = f"{job.name} returned a coroutine that nobody would await; use an async function"
            raise TypeError(msg)

    def _stop(self, job: Job, why: Stop) -> bool:
        job.stop = why
        return job.run is not None and job.run.cancel()

    def _settle(self, job: Job, error: BaseException | None) -> None:
        """Decide what the run that has ended means for the task, and tell the observers."""
        job.duration = monotonic() - (job.started_at or 0.0)
        if job.stop is Stop.TIMEOUT:
            error = TimeoutError(f"{job.name} took longer than {job.timeout:g} s")
        job.error = error
        if job.stop is Stop.CANCEL:
            self._end(job, TaskState.CANCELLED, self._observers.cancelled)
        elif error is None:
            self._end(job, TaskState.SUCCEEDED, self._observers.succeeded)
        elif self._retries(job, error):
            self._retry(job)
        elif job.stop is Stop.TIMEOUT:
            self._end(job, TaskState.TIMED_OUT, self._observers.timed_out)
        else:
            self._end(job, TaskState.FAILED, self._observers.failed)

    def _retries(self, job: Job, error: BaseException) -> bool:
        # The thread of a sync function that timed out still runs: a retry would run beside it.
        in_thread = job.stop is Stop.TIMEOUT and not job.is_async
        return job.retry is not None and not in_thread and job.retry.wants(error, job.attempt)

    def _retry(self, job: Job) -> None:
        if job.retry is None:
            return
        self._retried += 1
        self._places.take_back()
        job.state = TaskState.QUEUED
        job.stop = None
        job.retry_in = job.retry.wait(job.attempt)
        notify(self._observers.retried, job)

    def _end(self, job: Job, state: TaskState, hooks: tuple[Hook, ...]) -> None:
        job.state = state
        self._totals[state] += 1
        del self._jobs[job.id]
        notify(hooks, job)
        if not self._jobs:
            self.idle.set()

    def _cancel_waiting(self, job: Job) -> None:
        self._places.give_back()
        if job.timer is not None:
            job.timer.cancel()
            job.timer = None
        job.stop = Stop.CANCEL
        job.duration = None
        job.context.run(self._end, job, TaskState.CANCELLED, self._observers.cancelled)
        self._queue.discard(job)
        self._dispatch()


def _summary(job: Job, now: float) -> TaskSummary:
    since = job.started_at if job.state is TaskState.RUNNING else job.queued_at
    return TaskSummary(job.id, job.name, job.priority, job.state, job.attempt, now - (since or now))
