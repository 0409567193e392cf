"""The queue, compared with a list that is searched from end to end for the next job."""

import math
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.tasks import Task, task
from app.tasks.job import Job
from app.tasks.job_queue import JobQueue
from app.tasks.options import Options
from app.tasks.task import PlainTask

_NUMBERS = st.integers(0, 99)
_PRIORITIES = st.sampled_from([0, 5, 9])
_INDICES = st.integers(0, 3)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), _PRIORITIES, _INDICES, st.sampled_from([0.0, 0.0, 1e-6, 20.0])),
        st.tuples(st.just("pop")),
        st.tuples(st.just("cancel"), _NUMBERS),
        st.tuples(st.just("release"), _NUMBERS),
        st.tuples(st.just("pause"), _INDICES),
    ),
    min_size=20,
    max_size=80,
)
_THREADS = 2


@task(name="narrow", max_concurrency=1)
async def _narrow() -> None: ...


@task(name="narrow sync", max_concurrency=1)
def _narrow_sync() -> None: ...


_TASKS: list[Task[..., Any]] = [PlainTask(abs), PlainTask(print), _narrow, _narrow_sync]
_TASKS[0].is_async = True


class ComparedQueue:
    """A queue, and plain lists that say what it has to do."""

    def __init__(self, aging: float) -> None:
        self.queue = JobQueue(aging, _THREADS)
        self.aging = aging
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.paused: set[str] = set()

    def push(self, priority: int, index: int, since: float) -> None:
        job = Job("1", _TASKS[index], ((), {}), Options(priority=priority), math.inf)
        job.limit_group = job.name
        self.queue.push(job, since)
        self.waiting.append(job)

    def pop(self) -> None:
        startable = [job for job in self.waiting if self._may_start(job)]
        expected = min(startable, key=self._key, default=None)  # among equals the oldest
        assert bool(self.queue) is bool(startable)
        job = self.queue.pop(math.inf)
        assert job is expected
        if job is not None:
            self.queue.acquire(job)
            self.waiting.remove(job)
            self.running.append(job)

    def cancel(self, number: int) -> None:
        if self.waiting:
            self.queue.discard(self.waiting.pop(number % len(self.waiting)))

    def release(self, number: int) -> None:
        if self.running:
            self.queue.release(self.running.pop(number % len(self.running)))

    def pause(self, index: int) -> None:
        self.paused ^= {_TASKS[index].name}
        self.queue.paused = set(self.paused)

    def _may_start(self, job: Job) -> bool:
        running = Counter(other.name for other in self.running)[job.name]
        threads = sum(not other.is_async for other in self.running)
        has_room = running < (job.task.max_concurrency or math.inf)
        has_thread = job.is_async or threads < _THREADS
        return has_room and has_thread and job.name not in self.paused

    def _key(self, job: Job) -> float:
        return job.queued_at + job.priority * self.aging


@settings(max_examples=400)
@given(aging=st.sampled_from([0.0, 1e-5, 10.0, 1e10]), steps=_STEPS)
def test_the_queue_returns_the_first_job_that_may_start(
    aging: float, steps: list[tuple[str, ...]]
) -> None:
    both = ComparedQueue(aging)
    for step, *values in steps:
        getattr(both, step)(*values)
        assert sum(len(group.waiting) for group in both.queue._waiting) == len(both.waiting)
    both.queue.paused = both.paused = set()
    while both.waiting:
        both.pop()
        both.release(0)
    assert both.queue.pop(math.inf) is None
    assert not both.queue
