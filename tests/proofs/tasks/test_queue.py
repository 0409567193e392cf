"""The queue beside a list that is searched from end to end for the job that goes next."""

import asyncio
import math
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.tasks.info import TaskState
from app.tasks.job import Job
from app.tasks.job_queue import JobQueue
from app.tasks.limits import Limiter
from app.tasks.options import Options
from app.tasks.task import PlainTask

_NUMBERS = st.integers(0, 99)
_PRIORITIES = st.sampled_from([0, 5, 9])
_LANES = st.integers(0, 2)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), _PRIORITIES, _LANES, st.sampled_from([0.0, 0.0, 1e-6, 20.0])),
        st.tuples(st.just("pop")),
        st.tuples(st.just("cancel"), _NUMBERS),
        st.tuples(st.just("release"), _NUMBERS),
    ),
    min_size=20,
    max_size=80,
)


class Line:
    """A queue, and all that it should do in terms of plain lists."""

    def __init__(self, loop: asyncio.AbstractEventLoop, aging: float) -> None:
        self.queue = JobQueue(loop.call_later, aging, lambda: None)
        self.aging = aging
        self.limiters = (Limiter(1), Limiter(2))  # all jobs of the first are also in the second
        self.waiting: list[Job] = []
        self.running: list[Job] = []

    def push(self, priority: int, limiters: int, since: float) -> None:
        limits = self.limiters[2 - limiters :]
        job = Job(PlainTask(print), ((), {}), Options(priority=priority), math.inf)
        job.limiters = limits
        self.queue.push(job, since)
        self.waiting.append(job)

    def pop(self) -> None:
        used = Counter(limiter for job in self.running for limiter in job.limiters)
        full = {limiter for limiter, running in used.items() if running == limiter.limit}
        free = [job for job in self.waiting if full.isdisjoint(job.limiters)]
        expected = min(free, key=self._key, default=None)  # of equals the one that came first
        job = self.queue.pop()
        assert job is expected
        if job is not None:
            job.state = TaskState.RUNNING
            self.waiting.remove(job)
            self.running.append(job)

    def cancel(self, number: int) -> None:
        if self.waiting:
            job = self.waiting.pop(number % len(self.waiting))
            job.state = TaskState.CANCELLED
            self.queue.discard(job)

    def release(self, number: int) -> None:
        if self.running:
            self.queue.release(self.running.pop(number % len(self.running)))

    def _key(self, job: Job) -> float:
        if self.aging == math.inf:
            return job.priority
        return job.queued_at + job.priority * self.aging


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("aging", [0.0, 1e-5, 10.0, math.inf])
@settings(max_examples=200)
@given(steps=_STEPS)
def test_the_first_of_those_that_may_start_goes_next(
    loop: asyncio.AbstractEventLoop, aging: float, steps: list[tuple[str, ...]]
) -> None:
    line = Line(loop, aging)
    for step, *values in steps:
        getattr(line, step)(*values)
        kept = len(line.queue) + sum(len(one.throttled.entries) for one in line.limiters)
        assert kept >= len(line.waiting)  # those that were cancelled may be among them for a while
    while line.waiting:
        line.pop()
        line.release(0)
    assert line.queue.pop() is None
    assert len(line.queue) == 0


@pytest.mark.parametrize("since", [0.0, 20.0])
def test_those_that_gave_up_do_not_pile_up(loop: asyncio.AbstractEventLoop, since: float) -> None:
    line = Line(loop, 10.0)
    for _ in range(100):
        line.push(5, 0, since)
    while line.waiting:
        line.cancel(0)
        assert len(line.queue) <= 2 * len(line.waiting)
