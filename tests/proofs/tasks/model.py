"""A model of the runner, with which the runner must agree after every step.

Time is virtual, and a run ends when the test says so, also that of a sync function.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest

from app.tasks import (
    QueueFull,
    Retry,
    Snooze,
    Task,
    TaskInfo,
    TaskObserver,
    TaskRunner,
    TaskSettings,
    TaskState,
    current_task,
    task,
)
from app.tasks.job import Job

from .virtual_time import VirtualTimeLoop, advance, settle, virtual_monotonic

Outcome = tuple[Any, BaseException | None]
_TINY = 0.01


class FaultError(Exception):
    """Raised by a task when the test makes it fail."""


class Runs:
    """The runs that have not ended; also replaces the threads of the runner."""

    def __init__(self) -> None:
        self.ends: dict[str, asyncio.Future[Outcome]] = {}

    async def wait(self) -> None:
        """Wait for the end that the test decides: the body of every async task."""
        _, error = await self._begin(current_task())
        if error is not None:
            raise error

    def call(self, _: object) -> asyncio.Future[Outcome]:
        """Replace `TaskThreads.call`."""
        return self._begin(current_task())

    def close(self) -> None:
        """Replace `TaskThreads.close`."""

    def _begin(self, info: TaskInfo | None) -> asyncio.Future[Outcome]:
        assert info is not None
        end: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.ends[info.id] = end
        return end


_runs: ContextVar[Runs] = ContextVar("runs")


async def _async() -> None:
    await _runs.get().wait()


def _sync() -> None:
    raise AssertionError


@dataclass(frozen=True)
class LimitedTask:
    """A task, and its limits as the model knows them."""

    task: Task[[], Any]
    limit: float = math.inf
    starts_per_second: float = math.inf


def _task(
    func: Callable[[], Any], name: str, limit: int | None = None, rate: int | None = None
) -> LimitedTask:
    rate_limit = None if rate is None else f"{rate}/second"
    made = task(name=name, max_concurrency=limit, rate_limit=rate_limit)(func)
    return LimitedTask(made, limit or math.inf, rate or math.inf)


TASKS = {
    limited.task.name: limited
    for limited in (
        _task(_async, "plain"),
        _task(_async, "narrow", limit=2),
        _task(_async, "rated", rate=2),
        _task(_async, "narrow and rated", limit=1, rate=2),
        _task(_sync, "sync"),
        _task(_sync, "narrow sync", limit=1),
        _task(_sync, "narrow and rated sync", limit=2, rate=1),
    )
}


class Model(TaskObserver):
    """An observer that follows every task and notes every violation of a promise."""

    def __init__(self, aging: float) -> None:
        self.aging = aging
        self.jobs: dict[str, Job] = {}
        self.waiting: dict[str, Job] = {}
        self.running: dict[str, Job] = {}
        self.in_threads: dict[str, Job] = {}
        """Sync functions that are still running, including those that have timed out."""
        self.ended: dict[str, TaskState] = {}
        self.begun: set[str] = set()
        self.starts: dict[str, list[float]] = {name: [] for name in TASKS}
        self.limits = {name: (made.limit, made.starts_per_second) for name, made in TASKS.items()}
        """The limits in force, by the name of the task."""
        self.limited_at = dict.fromkeys(TASKS, -math.inf)
        """When the limits of a task were changed: its rate counts only starts since then."""
        self.paused: set[str] = set()
        self.problems: list[str] = []

    @property
    def not_begun(self) -> list[Job]:
        """Return the jobs that hold capacity: a waiting retry does not."""
        return [job for job in self.waiting.values() if job.id not in self.begun]

    def running_of(self, name: str) -> int:
        """Count the runs of a task, including sync functions that have timed out."""
        held = {**self.running, **self.in_threads}
        return sum(job.name == name for job in held.values())

    def queued(self, info: TaskInfo) -> None:
        assert isinstance(info, Job)
        key_reused = self.ended.pop(info.id, None) is not None
        self._expect(key_reused or info.id not in self.jobs, "queued twice", info)
        self.begun.discard(info.id)
        self.jobs[info.id] = self.waiting[info.id] = info

    def started(self, info: TaskInfo) -> None:
        self._expect(info.id in self.waiting, "started without waiting", info)
        self._expect(info.name not in self.paused, "started though paused", info)
        self.begun.add(info.id)
        job = self.waiting.pop(info.id)
        now = virtual_monotonic()
        for other in self.waiting.values():
            overtaken = other.name == job.name and other.queued_at < now - _TINY
            if overtaken and self._key(other) < self._key(job):
                self.problems.append(f"{job.name} {job.id} overtook {other.id}")
        self.running[job.id] = job
        if not job.is_async:
            self.in_threads[job.id] = job
        self.starts[job.name].append(now)
        self._check_limits(job)

    def retried(self, info: TaskInfo) -> None:
        self.waiting[info.id] = self._stop(info)

    def succeeded(self, info: TaskInfo) -> None:
        self._stop(info)
        self._end(info)

    failed = timed_out = succeeded

    def cancelled(self, info: TaskInfo) -> None:
        if info.id in self.waiting:
            self._expect(info.duration is None, "cancelled while waiting", info)
            del self.waiting[info.id]
        else:
            self._stop(info)
        self._end(info)

    def _check_limits(self, job: Job) -> None:
        limit, per_second = self.limits[job.name]
        self._expect(self.running_of(job.name) <= limit, "over its limit", job)
        since = max(self.limited_at[job.name], self.starts[job.name][-1] - 1 + 1e-6)
        starts = sum(at > since for at in self.starts[job.name])
        self._expect(starts <= per_second, "over its rate", job)

    def _stop(self, info: TaskInfo) -> Job:
        self._expect(info.id in self.running, "stopped without running", info)
        return self.running.pop(info.id)

    def _end(self, info: TaskInfo) -> None:
        self._expect(info.id not in self.ended, "ended twice", info)
        self.ended[info.id] = info.state

    def _key(self, job: Job) -> tuple[float, float]:
        if math.isinf(self.aging):
            return job.priority, job.queued_at
        return job.queued_at + job.priority * self.aging, 0

    def _expect(self, truth: bool, problem: str, info: TaskInfo) -> None:
        if not truth:
            self.problems.append(f"{info.name} {info.id}: {problem}")


class World:
    """A runner and its model, with control over time and over the ends of the runs."""

    def __init__(self, slots: int, threads: int, capacity: int, aging: float) -> None:
        self.slots, self.threads, self.capacity = slots, threads, capacity
        self.loop = VirtualTimeLoop()
        self.runs = Runs()
        self.model = Model(aging)
        self._patch = pytest.MonkeyPatch()
        for module in ("dispatcher", "executor", "job_queue"):
            self._patch.setattr(f"app.tasks.{module}.monotonic", self.loop.time)
        self._patch.setattr("app.tasks.executor.TaskThreads", lambda: self.runs)
        settings = TaskSettings(
            max_concurrency=slots,
            max_threads=threads,
            queue_size=capacity,
            aging=aging,
            drain_timeout=5,
        )
        tasks = [limited.task for limited in TASKS.values()]
        self.runner = TaskRunner(settings, [self.model], tasks=tasks)
        self._do(self._start())

    async def _start(self) -> None:
        _runs.set(self.runs)
        await self.runner.__aenter__()

    def submit(
        self,
        name: str,
        priority: int,
        delay: float,
        timeout: float,
        attempts: int,
        key: str | None = None,
    ) -> None:
        """Submit a task, and expect QueueFull exactly when the queue is full."""
        if not TASKS[name].task.is_async:
            key = None  # a thread that has timed out would share its id with the next run
        options = self.runner.options(
            priority=priority, delay=delay, timeout=timeout, key=key, retry=Retry(attempts=attempts)
        )
        full = len(self.model.not_begun) >= self.capacity
        try:
            self._do(self._call(lambda: options.submit(TASKS[name].task)))
        except QueueFull:
            assert full
        else:
            assert not full

    def finish(self, number: int, error: BaseException | None) -> None:
        """End one of the runs, if there is one."""
        runs = self.live_runs()
        if runs:
            self._do(self._finish(runs[number % len(runs)], error))

    async def _finish(self, task_id: str, error: BaseException | None) -> None:
        job = self.model.jobs[task_id]
        on_time = task_id in self.model.running
        attempt = job.attempt
        self.model.in_threads.pop(task_id, None)
        self.runs.ends.pop(task_id).set_result((None, error))
        await settle()
        if not on_time:  # a sync function that had timed out
            assert self.model.ended[task_id] is TaskState.TIMED_OUT
        elif error is None:
            assert self.model.ended[task_id] is TaskState.SUCCEEDED
        elif isinstance(error, Snooze):
            assert task_id not in self.model.ended
            assert job.attempt == attempt - (task_id in self.model.waiting)
        elif job.retry is not None and job.retry.wants(error, attempt):
            assert task_id in self.model.waiting or job.attempt > attempt
        else:
            assert self.model.ended[task_id] is TaskState.FAILED

    def cancel(self, number: int) -> None:
        """Cancel a task: mostly one that waits or runs, sometimes one that has ended."""
        live = [*self.model.waiting.values(), *self.model.running.values()]
        candidates = live if live and number % 5 else list(self.model.jobs.values())
        if not candidates:
            return
        job = candidates[number % len(candidates)]
        stoppable = job.id in self.model.waiting or (job.id in self.model.running and job.is_async)
        ended = self.model.ended.get(job.id)
        assert self._do(self._call(lambda: self.runner.cancel(job.id))) is stoppable
        assert self.model.ended.get(job.id) is (TaskState.CANCELLED if stoppable else ended)

    def pause(self, name: str) -> None:
        """Pause a task, or resume it if it is paused."""
        self.model.paused ^= {name}
        paused = name in self.model.paused
        self._do(self.runner.pause(name) if paused else self.runner.resume(name))

    def limit(self, name: str, limit: int | None, rate: int | None) -> None:
        """Change the limits of a task; None restores the one of its decorator."""
        made = TASKS[name]
        self.model.limits[name] = (limit or made.limit, rate or made.starts_per_second)
        self.model.limited_at[name] = self.loop.time() - 1e-9
        rate_limit = None if rate is None else f"{rate}/second"
        self._do(self.runner.limit(name, max_concurrency=limit, rate_limit=rate_limit))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._do(advance(seconds))

    def live_runs(self) -> list[str]:
        """Return the ids of the tasks whose functions have not returned."""
        return [task_id for task_id, end in self.runs.ends.items() if not end.done()]

    def check(self) -> None:
        """Compare the runner with the model, once nothing is left to happen."""
        model = self.model
        assert model.problems == []
        assert len(model.jobs) == len(model.waiting) + len(model.running) + len(model.ended)
        snapshot = self.runner.snapshot()
        assert snapshot.queued == len(model.waiting)
        assert self.runner._capacity.reserved == len(model.not_begun)
        assert snapshot.running == len(model.running)
        assert len(model.not_begun) <= self.capacity
        assert self._used() <= self.slots
        assert len(model.in_threads) <= self.threads
        self._check_that_no_task_waits_in_vain()
        self._check_that_no_task_runs_too_long()

    def _check_that_no_task_waits_in_vain(self) -> None:
        if self._used() >= self.slots:
            return
        now = self.loop.time()
        for job in self.model.waiting.values():
            limit, per_second = self.model.limits[job.name]
            recent = [at for at in self.model.starts[job.name] if at > now - 1 - _TINY]
            could_run = (
                job.queued_at < now - _TINY
                and job.name not in self.model.paused
                and self.model.running_of(job.name) < limit
                and len(recent) < per_second
                and (job.is_async or len(self.model.in_threads) < self.threads)
            )
            assert not could_run, f"{job.name} waits in vain"

    def _check_that_no_task_runs_too_long(self) -> None:
        for job in self.model.running.values():
            assert job.started_at is not None
            assert self.loop.time() - job.started_at < job.timeout + _TINY

    def _used(self) -> int:
        timed_out = [task_id for task_id in self.model.in_threads if task_id in self.model.ended]
        return len(self.model.running) + len(timed_out)

    def shut_down(self) -> None:
        """Close the runner, and check that every task has ended exactly once."""
        try:
            self._do(self.runner.__aexit__())
            for task_id in self.live_runs():
                self.runs.ends[task_id].set_result((None, None))
            self._do(settle())
            assert self.model.problems == []
            assert self.model.ended.keys() == self.model.jobs.keys()
            assert (self.model.waiting, self.model.running) == ({}, {})
            assert self.runner._capacity.reserved == 0
            assert self.runner.snapshot().tasks == ()
            self._check_that_everything_is_released()
        finally:
            self.loop.close()
            self._patch.undo()

    def _check_that_everything_is_released(self) -> None:
        dispatcher = self.runner._get_dispatcher()
        queue = dispatcher.queue
        assert (dispatcher.free_slots, queue.free_threads) == (self.slots, self.threads)
        assert (dispatcher.jobs, queue._waiting) == ({}, set())
        assert not any(group.running or group.waiting for group in queue._groups.values())

    async def _call(self, action: Callable[[], Any]) -> Any:
        return action()

    def _do(self, action: Coroutine[Any, Any, Any]) -> Any:
        async def act() -> Any:
            result = await action
            await settle()
            return result

        return self.loop.run_until_complete(act())
