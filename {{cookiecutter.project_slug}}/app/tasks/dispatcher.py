"""Decides when each job runs: slots, delays, retries, cancellations and the shutdown."""

import asyncio
import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from functools import partial
from time import monotonic
from typing import Any

from .executor import Executor
from .info import FAILURES, UNSUCCESSFUL, Snapshot, TaskInfo, TaskState
from .job import STOPPED, Job, Stop
from .job_queue import JobQueue
from .limits import Capacity
from .observers import Observers
from .settings import TaskSettings

logger = logging.getLogger(__name__)

_NAMES_LOGGED = 20
"""Cancelled tasks that the log line of a shutdown names."""
_CANCEL_GRACE = 2.0
"""Seconds that a cancelled task has to clean up at shutdown."""


class Dispatcher:
    """Accepts jobs, and starts each when a slot is free and its limits allow it.

    Not thread-safe, except for `on_loop`. `on_failure` is called when an in-memory job has ended
    without success.
    """

    def __init__(
        self,
        settings: TaskSettings,
        capacity: Capacity,
        observers: Observers,
        provided: Mapping[ContextVar[Any], Any],
        on_failure: Callable[[Job, TaskState], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        # asyncio keeps cancelled timers for a while: they must not keep the context of a job.
        self._call_later = partial(self._loop.call_later, context=copy_context())
        self._capacity = capacity
        self._observers = observers
        self._on_failure = on_failure
        self.queue = JobQueue(settings.aging, settings.max_threads)
        self._rate_timer: asyncio.TimerHandle | None = None
        """Set for the next start that a rate limit allows, if one delays a job."""
        self._executor = Executor(
            self._call_later, provided, observers, self._report_outcome, self._free_slot
        )
        self.jobs: dict[str, Job] = {}
        """The jobs that have not ended, by id."""
        self._cancelled_by_shutdown: list[Job] = []
        self.free_slots = settings.max_concurrency
        """How many more jobs could run now."""
        self._drain_deadline = math.inf
        """When the drain of a shutdown ends (`time.monotonic()`); inf before a shutdown."""
        self.closed = False
        """Whether the drain has ended, so that no job starts any more."""
        self._totals = dict.fromkeys(TaskState, 0)
        self.run_ended: Callable[[Job], None] = lambda _: None
        """Called after a run has released its slot."""
        self.idle = asyncio.Event()
        self.idle.set()

    def on_loop(self, func: Callable[..., None], *arguments: Any) -> None:
        """Call `func` on the event loop, from any thread."""
        if threading.get_ident() == self._loop_thread:
            func(*arguments)
        else:
            self._loop.call_soon_threadsafe(func, *arguments)

    def enqueue(self, job: Job) -> None:
        """Queue a job that is due in `job.delay` seconds; drop an in-memory one with a key in use.

        A negative delay says for how long the job has been due already, as a row of the table.
        """
        if job.recorder is None and self._is_in_use(job.id):
            self._capacity.release()
            return
        self.idle.clear()
        self.jobs[job.id] = job
        self._observers.notify("queued", job)
        if job.state is TaskState.QUEUED:  # unless an observer has cancelled it
            self._queue_when_due(job, job.delay)

    def reject(self, info: TaskInfo) -> None:
        """Count and report a task that was not accepted."""
        info.state = TaskState.REJECTED
        self._totals[TaskState.REJECTED] += 1
        self._observers.notify("rejected", info)

    def cancel(self, task_id: str, why: Stop = Stop.CANCEL) -> bool:
        """Cancel a job; return False if it is unknown, has ended, or runs in a thread.

        A waiting job is ended by a run that does not call its function.
        """
        job = self.jobs.get(task_id)
        # A shutdown cancels again what runs on despite a cancellation, in a thread for example.
        already_stopped = {why} if why is Stop.SHUTDOWN else STOPPED
        if job is None or job.stop in already_stopped:
            return False
        if job.state is TaskState.QUEUED:
            if job.timer is not None:
                job.timer.cancel()
                job.timer = None
            self.queue.discard(job)
            job.stop = why
            self._start(job)
            return True
        if not job.is_async and job.started_at is not None and why is not Stop.SHUTDOWN:
            if why is Stop.LOST:  # the thread goes on, and its result is ignored
                job.stop = job.stop or why  # a TIMEOUT stays, so that it keeps its slot
            return False
        return self._executor.stop(job, why)

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - bounds a shutdown
        """Let jobs end for up to `timeout` seconds; then cancel the others and log their names.

        A job that is paused, or cannot start in that time, is cancelled at once: it would only
        hold up the shutdown.
        """
        await asyncio.sleep(0)  # lets tasks arrive that other threads have submitted
        self._drain_deadline = monotonic() + timeout
        for job in list(self.jobs.values()):
            if job.state is TaskState.QUEUED and self._starts_after_drain(job, job.queued_at):
                self._cancel_for_shutdown(job)
        if remaining := len(self.jobs) - len(self._cancelled_by_shutdown):
            logger.info("the shutdown waits for %d tasks, %g seconds at most", remaining, timeout)
        try:
            async with asyncio.timeout(timeout) as self._drain_timeout:
                await self.wait_until_idle()
        except TimeoutError:
            await self._cancel_all()
        finally:
            self.closed = True
        if cancelled := self._cancelled_by_shutdown:
            names = ", ".join(f"{job.name} ({job.id})" for job in cancelled[:_NAMES_LOGGED])
            logger.warning("%d tasks were cancelled by the shutdown: %s", len(cancelled), names)

    def end_drain(self) -> None:
        """During a drain, cancel at once what has not ended."""
        if self._drain_deadline < math.inf and not (self.closed or self._drain_timeout.expired()):
            self._drain_timeout.reschedule(0.0)

    async def wait_until_idle(self) -> None:
        """Wait until no job waits or runs."""
        while not self.idle.is_set():  # a job may arrive before this coroutine resumes
            await self.idle.wait()

    def dispatch(self) -> None:
        """Start the jobs that may start now."""
        while self.free_slots > 0 and not self.closed:
            now = monotonic()
            job = self.queue.pop(now)
            if job is None:
                self._set_rate_timer(now)
                return
            self._start(job)

    def bring_forward(self) -> int:
        """Make delayed jobs due now; return how many."""
        delayed = [(job, job.timer) for job in self.jobs.values() if job.timer is not None]
        for job, timer in delayed:
            timer.cancel()
            self._queue_now(job)
        return len(delayed)

    def close(self) -> None:
        """Start no more jobs."""
        self.closed = True
        self._executor.close()

    def snapshot(self, limit: int | None) -> Snapshot:
        """Return totals, the first `limit` running and the first `limit` queued jobs; None: all."""
        now = monotonic()
        jobs = self.jobs.values()
        running = [job for job in jobs if job.state is TaskState.RUNNING]
        queued = [job for job in jobs if job.state is TaskState.QUEUED]
        totals = self._totals
        return Snapshot(
            queued=len(queued),
            running=len(running),
            succeeded=totals[TaskState.SUCCEEDED],
            failed=sum(totals[state] for state in FAILURES),
            timed_out=totals[TaskState.TIMED_OUT],
            cancelled=totals[TaskState.CANCELLED],
            retried=totals[TaskState.QUEUED],
            rejected=totals[TaskState.REJECTED],
            queue_depth=Counter(job.priority for job in queued),
            tasks=(*running[:limit], *queued[:limit]),
            delayed=Counter(job.priority for job in queued if job.queued_at > now),
        )

    def _queue_when_due(self, job: Job, delay: float) -> None:
        if self.closed or self._starts_after_drain(job, monotonic() + delay):
            self._cancel_for_shutdown(job)
        elif delay > 0:
            job.queued_at = monotonic() + delay
            job.timer = self._call_later(delay, self._queue_now, job)
        else:
            self._queue_now(job, due_for=-delay)

    def _is_in_use(self, key_id: str) -> bool:
        """Return whether a job waits or runs, unless it was cancelled before it began."""
        job = self.jobs.get(key_id)
        return job is not None and (job.stop not in STOPPED or job.started_at is not None)

    def _starts_after_drain(self, job: Job, due: float) -> bool:
        """Return whether a job cannot start before the drain of a shutdown ends."""
        return max(due, self.queue.earliest_start(job)) > self._drain_deadline

    def _queue_now(self, job: Job, due_for: float = 0.0) -> None:
        job.timer = None
        self.queue.push(job, due_for)
        self.dispatch()

    def _set_rate_timer(self, now: float) -> None:
        if self._rate_timer is not None:
            self._rate_timer.cancel()
            self._rate_timer = None
        wait = self.queue.next_start(now) - now
        if wait < math.inf:
            self._rate_timer = self._call_later(wait, self.dispatch)

    def _start(self, job: Job) -> None:
        self.free_slots -= 1
        if job.recorder is None and job.duration is None:  # a retry has released it before
            self._capacity.release()
        self.queue.acquire(job)
        job.state = TaskState.RUNNING
        job.started_at = None
        job.duration = None
        context = job.context.copy()  # the next attempt does not see what this one sets
        job.asyncio_task = self._loop.create_task(
            self._executor.run(job), name=job.name, context=context
        )

    def _free_slot(self, job: Job) -> None:
        """Release what a run held, and start other jobs."""
        self.free_slots += 1
        self.queue.release(job)
        if job.state is TaskState.QUEUED and job.recorder is None:
            self._queue_when_due(job, job.retry_in or 0.0)
        self.dispatch()
        self.run_ended(job)

    def _report_outcome(self, job: Job, state: TaskState) -> None:
        """Count and report an outcome; forget the job unless it waits here for its next run."""
        job.state = state
        self._totals[state] += 1
        waits_here = state is TaskState.QUEUED and job.recorder is None
        if state is TaskState.QUEUED:
            job.stop = None
        if not waits_here:
            if self.jobs.get(job.id) is job:  # unless its row was claimed here again already
                del self.jobs[job.id]
            if not self.jobs:
                self.idle.set()
        self._observers.notify("retried" if state is TaskState.QUEUED else state, job)
        if job.recorder is None and state in UNSUCCESSFUL:
            self._on_failure(job, state)
        if not waits_here:
            job.clear()

    def _cancel_for_shutdown(self, job: Job) -> None:
        if self.cancel(job.id, Stop.SHUTDOWN):
            self._cancelled_by_shutdown.append(job)

    async def _cancel_all(self) -> None:
        """Cancel every job, and wait a little for the running ones."""
        self.closed = True
        for job in list(self.jobs.values()):
            self._cancel_for_shutdown(job)
        try:
            async with asyncio.timeout(_CANCEL_GRACE):
                await self.wait_until_idle()
        except TimeoutError:
            logger.error("%d cancelled tasks did not stop", len(self.jobs))
