"""Decides which job runs when: slots, delays, retries, cancellations, and the end of it all."""

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

_NAMED = 20
"""Tasks that the shutdown names in its one line."""
_CANCEL_GRACE = 2.0
"""Seconds a cancelled task gets to clean up at shutdown."""


class Dispatcher:
    """Takes jobs in and lets each run when there is a slot for it.

    Not thread-safe, but for `on_loop`. `failed` is called when a job that lives in this process
    only has ended without success.
    """

    def __init__(
        self,
        settings: TaskSettings,
        capacity: Capacity,
        observers: Observers,
        provided: Mapping[ContextVar[Any], Any],
        failed: Callable[[Job, TaskState], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        # asyncio keeps cancelled timers, and with them the context they were made in.
        self._call_later = partial(self._loop.call_later, context=copy_context())
        self._capacity = capacity
        self._observers = observers
        self._failed = failed
        self.queue = JobQueue(settings.aging, settings.max_threads)
        self._rate_timer: asyncio.TimerHandle | None = None
        """Set to when a rate allows the next start, if one holds a job back."""
        self._executor = Executor(
            self._call_later, provided, observers, self._ended, self._free_slot
        )
        self.jobs: dict[str, Job] = {}
        """Those that have not ended, by their ids."""
        self._were_cut_off: list[Job] = []
        self.free_slots = settings.max_concurrency
        """How many more jobs could run now."""
        self._no_later_than = math.inf
        """When the drain of a shutdown ends (`time.monotonic()`); inf while there is none."""
        self.closed = False
        """Whether the time of the drain is over."""
        self._totals = dict.fromkeys(TaskState, 0)
        self.run_ended: Callable[[Job], None] = lambda _: None
        """Called when the slot of a job has become free."""
        self.idle = asyncio.Event()
        self.idle.set()

    def on_loop(self, step: Callable[..., None], *arguments: Any) -> None:
        """Call `step` on the event loop, from whichever thread."""
        if threading.get_ident() == self._loop_thread:
            step(*arguments)
        else:
            self._loop.call_soon_threadsafe(step, *arguments)

    def enqueue(self, job: Job) -> None:
        """Let a job wait for its turn, from `job.delay` seconds on.

        A delay below 0 says for how long it has been due elsewhere. One whose key is in use is the
        one that waits or runs already.
        """
        if job.recorder is None and self._is_in_use(job.id):
            self._capacity.release()
            return
        self.idle.clear()
        self.jobs[job.id] = job
        self._observers.tell("queued", job)
        if job.state is TaskState.QUEUED:  # or an observer has cancelled it
            self._wait(job, job.delay)

    def reject(self, info: TaskInfo) -> None:
        """Count a task that was not accepted."""
        info.state = TaskState.REJECTED
        self._totals[TaskState.REJECTED] += 1
        self._observers.tell("rejected", info)

    def cancel(self, task_id: str, why: Stop = Stop.CANCEL) -> bool:
        """Cancel a job; False if it is unknown, over, or in a thread.

        One that waits has its end in a run that does not call its function.
        """
        job = self.jobs.get(task_id)
        # A shutdown also cancels what goes on although it was cancelled, in a thread for example.
        over = {why} if why is Stop.SHUTDOWN else STOPPED
        if job is None or job.stop in over:
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
            if why is Stop.LOST:  # the thread goes on, and nobody waits for what it does
                job.stop = job.stop or why  # after its timeout it still keeps its slot
            return False
        return self._executor.stop(job, why)

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - bounds a shutdown
        """Let jobs end for up to `timeout` seconds, cancel the rest, and name it in the log.

        What would begin later than that, or is paused, is cancelled at once, so that it holds up
        nobody.
        """
        await asyncio.sleep(0)  # let in what other threads have submitted by now
        self._no_later_than = monotonic() + timeout
        for job in list(self.jobs.values()):
            if job.state is TaskState.QUEUED and self._is_too_late(job, job.queued_at):
                self._cut_off(job)
        if left := len(self.jobs) - len(self._were_cut_off):  # else nobody knows what it waits for
            logger.info("the shutdown waits for %d tasks, %g seconds at most", left, timeout)
        try:
            async with asyncio.timeout(timeout):
                await self.wait_until_idle()
        except TimeoutError:
            await self._cancel_all()
        self.closed = True
        if self._were_cut_off:
            number, first = len(self._were_cut_off), self._were_cut_off[:_NAMED]
            names = ", ".join(f"{job.name} ({job.id})" for job in first)
            logger.warning("%d tasks were cancelled by the shutdown: %s", number, names)

    async def wait_until_idle(self) -> None:
        """Wait until nothing waits or runs."""
        while not self.idle.is_set():  # it may be cleared between the event and this task
            await self.idle.wait()

    def dispatch(self) -> None:
        """Start what may start now."""
        while self.free_slots > 0 and not self.closed:
            now = monotonic()
            job = self.queue.pop(now)
            if job is None:
                self._wait_for_rates(now)
                return
            self._start(job)

    def bring_forward(self) -> int:
        """Let jobs that wait for their time wait for a slot only; return how many did."""
        delayed = [(job, job.timer) for job in self.jobs.values() if job.timer is not None]
        for job, timer in delayed:
            timer.cancel()
            self._due(job)
        return len(delayed)

    def close(self) -> None:
        """Start nothing more."""
        self.closed = True
        self._executor.close()

    def snapshot(self, limit: int | None) -> Snapshot:
        """Return totals and the first `limit` jobs of each state; all of them if it is None."""
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

    def _wait(self, job: Job, delay: float) -> None:
        if self.closed or self._is_too_late(job, monotonic() + delay):
            self._cut_off(job)
        elif delay > 0:
            job.queued_at = monotonic() + delay
            job.timer = self._call_later(delay, self._due, job)
        else:
            self._due(job, since=-delay)

    def _is_in_use(self, key_id: str) -> bool:
        """Say whether a job waits or runs; not one that was cancelled before it could begin."""
        job = self.jobs.get(key_id)
        return job is not None and (job.stop not in STOPPED or job.started_at is not None)

    def _is_too_late(self, job: Job, due: float) -> bool:
        """Say whether a job would not begin before the drain of a shutdown ends."""
        return max(due, self.queue.earliest_start(job)) > self._no_later_than

    def _due(self, job: Job, since: float = 0.0) -> None:
        job.timer = None
        self.queue.push(job, since)
        self.dispatch()

    def _wait_for_rates(self, now: float) -> None:
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
        self.queue.enter(job)
        job.state = TaskState.RUNNING
        job.started_at = None
        job.duration = None
        context = job.context.copy()  # what one attempt sets, the next does not see
        job.asyncio_task = self._loop.create_task(
            self._executor.run(job), name=job.name, context=context
        )

    def _free_slot(self, job: Job) -> None:
        """Take back what a run has held, and let others start."""
        self.free_slots += 1
        self.queue.release(job)
        if job.state is TaskState.QUEUED and job.recorder is None:
            self._wait(job, job.retry_in or 0.0)
        self.dispatch()
        self.run_ended(job)

    def _ended(self, job: Job, state: TaskState) -> None:
        """Count and tell an outcome; the job is gone unless it waits here for its next run."""
        job.state = state
        self._totals[state] += 1
        waits_here = state is TaskState.QUEUED and job.recorder is None
        if state is TaskState.QUEUED:
            job.stop = None
        if not waits_here:
            if self.jobs.get(job.id) is job:  # or its row has been claimed here again already
                del self.jobs[job.id]
            if not self.jobs:
                self.idle.set()
        self._observers.tell("retried" if state is TaskState.QUEUED else state, job)
        if job.recorder is None and state in UNSUCCESSFUL:
            self._failed(job, state)
        if not waits_here:
            job.clear()

    def _cut_off(self, job: Job) -> None:
        if self.cancel(job.id, Stop.SHUTDOWN):
            self._were_cut_off.append(job)

    async def _cancel_all(self) -> None:
        """Cancel every job, and wait a little for those that run."""
        self.closed = True
        for job in list(self.jobs.values()):
            self._cut_off(job)
        try:
            async with asyncio.timeout(_CANCEL_GRACE):
                await self.wait_until_idle()
        except TimeoutError:
            logger.error("%d cancelled tasks did not stop", len(self.jobs))
