"""A runner whose every step is compared with what must be true of any runner.

Time is virtual, and the tasks end when the test says so, sync functions included.
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
    """What the tasks raise when they are told to fail."""


class Runs:
    """The runs that go on; stands for the threads of the runner, too."""

    def __init__(self) -> None:
        self.ends: dict[str, asyncio.Future[Outcome]] = {}

    async def wait(self) -> None:
        """Be the body of an async task."""
        _, error = await self._begin(current_task())
        if error is not None:
            raise error

    def call(self, _: object) -> asyncio.Future[Outcome]:
        """Stand for `TaskThreads.call`."""
        return self._begin(current_task())

    def close(self) -> None:
        """Stand for `TaskThreads.close`."""

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
class Kind:
    """One kind of task, and its limits as the model knows them."""

    task: Task[[], Any]
    limit: float = math.inf
    starts_per_second: float = math.inf


def _kind(
    func: Callable[[], Any], name: str, limit: int | None = None, rate: int | None = None
) -> Kind:
    rate_limit = None if rate is None else f"{rate}/second"
    made = task(name=name, max_concurrency=limit, rate_limit=rate_limit)(func)
    return Kind(made, limit or math.inf, rate or math.inf)


KINDS = {
    kind.task.name: kind
    for kind in (
        _kind(_async, "plain"),
        _kind(_async, "narrow", limit=2),
        _kind(_async, "rated", rate=2),
        _kind(_async, "narrow and rated", limit=1, rate=2),
        _kind(_sync, "sync"),
        _kind(_sync, "narrow sync", limit=1),
        _kind(_sync, "narrow and rated sync", limit=2, rate=1),
    )
}


class Model(TaskObserver):
    """Follows every task by what observers are told, and notes what must not be."""

    def __init__(self, aging: float) -> None:
        self.aging = aging
        self.jobs: dict[str, Job] = {}
        self.waiting: dict[str, Job] = {}
        self.running: dict[str, Job] = {}
        self.in_threads: dict[str, Job] = {}
        """Sync functions that go on, those that have timed out included."""
        self.ended: dict[str, TaskState] = {}
        self.begun: set[str] = set()
        self.starts: dict[str, list[float]] = {name: [] for name in KINDS}
        self.limits = {name: (kind.limit, kind.starts_per_second) for name, kind in KINDS.items()}
        """Those in force, by name."""
        self.limited_at = dict.fromkeys(KINDS, -math.inf)
        """When the limits of each were changed: a rate counts only what starts from then on."""
        self.paused: set[str] = set()
        self.problems: list[str] = []

    @property
    def not_begun(self) -> list[Job]:
        """Those that hold capacity: a waiting retry does not."""
        return [job for job in self.waiting.values() if job.id not in self.begun]

    def running_of(self, name: str) -> int:
        """Return how many of a task run, sync functions that have timed out included."""
        held = {**self.running, **self.in_threads}
        return sum(job.name == name for job in held.values())

    def queued(self, info: TaskInfo) -> None:
        assert isinstance(info, Job)
        again = self.ended.pop(info.id, None) is not None  # a key that is used again
        self._expect(again or info.id not in self.jobs, "queued twice", info)
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
    """A runner, its model, and the power over time and over the ends of the tasks."""

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
        tasks = [kind.task for kind in KINDS.values()]
        self.runner = TaskRunner(settings, [self.model], tasks=tasks)
        self._do(self._start())

    async def _start(self) -> None:
        _runs.set(self.runs)
        await self.runner.__aenter__()

    def submit(
        self,
        kind: str,
        priority: int,
        delay: float,
        timeout: float,
        attempts: int,
        key: str | None = None,
    ) -> None:
        """Submit a task; QueueFull exactly when the queue is full."""
        if not KINDS[kind].task.is_async:
            key = None  # or the thread of one that has timed out would be that of another
        options = self.runner.options(
            priority=priority, delay=delay, timeout=timeout, key=key, retry=Retry(attempts=attempts)
        )
        full = len(self.model.not_begun) >= self.capacity
        try:
            self._do(self._call(lambda: options.submit(KINDS[kind].task)))
        except QueueFull:
            assert full
        else:
            assert not full

    def finish(self, number: int, error: BaseException | None) -> None:
        """Let one of the runs end, if there is one."""
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
        """Cancel a task: mostly one that waits or runs, sometimes any there has ever been."""
        live = [*self.model.waiting.values(), *self.model.running.values()]
        candidates = live if live and number % 5 else list(self.model.jobs.values())
        if not candidates:
            return
        job = candidates[number % len(candidates)]
        stoppable = job.id in self.model.waiting or (job.id in self.model.running and job.is_async)
        ended = self.model.ended.get(job.id)
        assert self._do(self._call(lambda: self.runner.cancel(job.id))) is stoppable
        assert self.model.ended.get(job.id) is (TaskState.CANCELLED if stoppable else ended)

    def pause(self, kind: str) -> None:
        """Pause a task, or resume it if it is paused."""
        self.model.paused ^= {kind}
        paused = kind in self.model.paused
        self._do(self.runner.pause(kind) if paused else self.runner.resume(kind))

    def limit(self, kind: str, limit: int | None, rate: int | None) -> None:
        """Change the limits of a task; None is what it was made with."""
        made = KINDS[kind]
        self.model.limits[kind] = (limit or made.limit, rate or made.starts_per_second)
        self.model.limited_at[kind] = self.loop.time() - 1e-9
        rate_limit = None if rate is None else f"{rate}/second"
        self._do(self.runner.limit(kind, max_concurrency=limit, rate_limit=rate_limit))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._do(advance(seconds))

    def live_runs(self) -> list[str]:
        """Return the tasks whose bodies go on."""
        return [task_id for task_id, end in self.runs.ends.items() if not end.done()]

    def check(self) -> None:
        """Compare the runner with the model, when nothing moves."""
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
        self._check_that_nobody_waits_in_vain()
        self._check_that_nobody_runs_too_long()

    def _check_that_nobody_waits_in_vain(self) -> None:
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

    def _check_that_nobody_runs_too_long(self) -> None:
        for job in self.model.running.values():
            assert job.started_at is not None
            assert self.loop.time() - job.started_at < job.timeout + _TINY

    def _used(self) -> int:
        zombies = [task_id for task_id in self.model.in_threads if task_id in self.model.ended]
        return len(self.model.running) + len(zombies)

    def shut_down(self) -> None:
        """End the runner: every task must have come to exactly one end."""
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
            self._check_that_all_is_free()
        finally:
            self.loop.close()
            self._patch.undo()

    def _check_that_all_is_free(self) -> None:
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
