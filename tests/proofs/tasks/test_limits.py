"""Limits of the runner, of one task, of starts per window, and of the queue."""

import asyncio
import gc
from collections import deque
from collections.abc import Awaitable, Callable

import pytest

from app.tasks import QueueFull, TaskRunner, TaskSettings, task
from app.tasks.job import Job
from app.tasks.job_queue import JobGroup
from app.tasks.limits import Rate
from app.tasks.options import NO_OPTIONS
from tests.tasks.gate import Gate

from .recorder import Recorder
from .virtual_time import ON_VIRTUAL_TIME, advance, settle

pytestmark = ON_VIRTUAL_TIME


async def test_the_runner_runs_no_more_than_max_concurrency(gate: Gate) -> None:
    async with TaskRunner(TaskSettings(max_concurrency=3)) as runner:
        for number in range(10):
            runner.submit(gate.hold, number)
        await gate.holds(3)
        snapshot = runner.snapshot()
        assert (snapshot.running, snapshot.queued) == (3, 7)
        gate.open()
    assert gate.most_inside == 3
    assert gate.left == list(range(10))


async def test_a_task_at_its_limit_does_not_block_others(gate: Gate) -> None:
    @task(max_concurrency=2)
    async def narrow(label: str) -> None:
        await gate.hold(label)

    @task
    async def wide(label: str) -> None:
        await gate.hold(label)

    async with TaskRunner(TaskSettings(max_concurrency=5)) as runner:
        for number in range(4):
            runner.submit(narrow, f"n{number}", priority=0)
        for number in range(4):
            runner.submit(wide, f"w{number}", priority=9)
        await gate.holds(5)
        assert gate.entered == ["n0", "n1", "w0", "w1", "w2"]
        gate.open()
    assert gate.entered[5:] == ["n2", "n3", "w3"]


async def test_two_tasks_with_one_name_have_separate_limits(gate: Gate) -> None:
    """Two modules may use one name if no feature lists their tasks: nothing checks it."""
    wide = task(name="send")(gate.hold)
    narrow = task(name="send", max_concurrency=1)(gate.hold)
    async with TaskRunner(TaskSettings()) as runner:
        for number in range(3):
            runner.submit(wide, f"w{number}")
            runner.submit(narrow, f"n{number}")
        await settle()
        assert gate.entered == ["w0", "n0", "w1", "w2"]
        gate.open()


async def test_throttled_tasks_keep_their_order() -> None:
    order: list[str] = []

    @task(max_concurrency=1)
    async def narrow(label: str) -> None:
        order.append(label)
        await advance(1)

    async with TaskRunner(TaskSettings()) as runner:
        runner.submit(narrow, "first")
        for label, priority in (("n1", 5), ("low", 7), ("n2", 5), ("urgent", 0), ("n3", 5)):
            runner.submit(narrow, label, priority=priority)
    assert order == ["first", "urgent", "n1", "n2", "n3", "low"]


async def test_the_rate_limit_holds_in_every_window() -> None:
    starts: list[float] = []
    runner = TaskRunner(TaskSettings(drain_timeout=1e6))

    @task(rate_limit="5/second")
    async def limited() -> None:
        starts.append(asyncio.get_running_loop().time())

    async with runner:
        for _ in range(3):
            runner.submit(limited)
        await advance(0.9)
        for _ in range(20):
            runner.submit(limited)
    for first, sixth in zip(starts, starts[5:], strict=False):
        assert sixth - first >= 1 - 1e-9
    assert len(starts) == 23
    assert starts[-1] - starts[0] == pytest.approx(4, abs=0.1)


async def test_a_new_task_does_not_overtake_those_waiting_for_the_rate_limit() -> None:
    order: list[str] = []

    @task(rate_limit="1/second")
    async def limited(label: str) -> None:
        order.append(label)

    async with TaskRunner(TaskSettings()) as runner:
        runner.submit(limited, "first")
        runner.submit(limited, "second")
        await settle()
        # On a busy loop the window is open again before the timer has been able to fire.
        asyncio.get_running_loop()._clock.now += 1.5  # type: ignore[attr-defined]  # of a VirtualTimeLoop
        runner.submit(limited, "third")
        await advance(5)
    assert order == ["first", "second", "third"]


async def test_a_task_waiting_for_its_rate_limit_does_not_block_others() -> None:
    order: list[str] = []

    @task(rate_limit="1/day")
    async def daily(label: str) -> None:
        order.append(label)

    async with TaskRunner(TaskSettings(max_concurrency=1, drain_timeout=0)) as runner:
        for label in ("d1", "d2"):
            runner.submit(daily, label, priority=0)
        for number in range(6):
            runner.submit(_note(order), f"a{number}")
        await advance(86_399)
        assert "d2" not in order
        await advance(2)
        assert order[-1] == "d2"
    assert len(order) == 8


def _note(order: list[str]) -> Callable[[str], Awaitable[None]]:
    async def note(label: str) -> None:
        order.append(label)

    return note


async def test_a_rate_limit_and_max_concurrency_hold_together() -> None:
    busy = most = 0

    @task(rate_limit="4/second", max_concurrency=2)
    async def limited() -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await advance(0.1)
        busy -= 1

    async with TaskRunner(TaskSettings(drain_timeout=1e6)) as runner:
        began = asyncio.get_running_loop().time()
        for _ in range(12):
            runner.submit(limited)
        await runner.join()
        assert asyncio.get_running_loop().time() - began == pytest.approx(2.2, abs=0.1)
    assert most == 2


async def test_the_queue_is_bounded_and_running_tasks_do_not_count(
    gate: Gate, recorder: Recorder
) -> None:
    settings = TaskSettings(max_concurrency=2, queue_size=3)
    async with TaskRunner(settings, [recorder]) as runner:
        for number in range(5):
            runner.submit(gate.hold, number)
        with pytest.raises(QueueFull, match=r"Gate.hold: .* full \(TASKS_QUEUE_SIZE=3\)") as caught:
            runner.submit(gate.hold, 5)
        assert caught.value.retry_after == 1
        assert recorder.hooks.count("rejected") == runner.snapshot().rejected == 1
        gate.open()
        await runner.join(5)
        runner.submit(gate.hold, 6)
    assert gate.left == [0, 1, 2, 3, 4, 6]


async def test_delayed_tasks_take_capacity() -> None:
    async with TaskRunner(TaskSettings(queue_size=1)) as runner:
        runner.options(delay=10).submit(settle)
        with pytest.raises(QueueFull):
            runner.submit(settle)
        await advance(11)
        runner.submit(settle)


async def test_a_rejected_task_has_the_state_rejected(gate: Gate) -> None:
    states: list[str] = []

    class Watch(Recorder):
        def rejected(self, info: object) -> None:
            states.append(info.state)  # type: ignore[attr-defined]

    async with TaskRunner(TaskSettings(max_concurrency=1, queue_size=1), [Watch()]) as runner:
        runner.submit(gate.hold)
        runner.submit(gate.hold)
        with pytest.raises(QueueFull):
            runner.submit(gate.hold)
        gate.open()
    assert states == ["rejected"]


async def test_a_rate_limit_per_value_remembers_starts_of_ended_jobs(gate: Gate) -> None:
    gate.open()

    @task(rate_limit="1/day", per="n")
    async def work(n: int) -> None:
        await gate.hold(n)

    async with TaskRunner(TaskSettings(drain_timeout=0)) as runner:
        runner.submit(work, 1)
        await runner.join(10)
        gc.collect()
        runner.submit(work, 1)
        runner.submit(work, 2)
        await gate.holds(2)
        assert runner.snapshot().queued == 1
    assert gate.entered == [1, 2]


async def test_a_rate_limit_needs_no_timer_for_each_start() -> None:
    @task(rate_limit="1000/day")
    async def work() -> None: ...

    async with TaskRunner(TaskSettings()) as runner:
        for _ in range(200):
            runner.submit(work)
        await runner.join(10)
        timers = [item for item in gc.get_objects() if isinstance(item, asyncio.TimerHandle)]
        assert sum(not timer.cancelled() for timer in timers) < 20


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5/second", Rate(5, 1)),
        ("10 / minute", Rate(10, 60)),
        (" 1/hour ", Rate(1, 3600)),
        ("1000000/day", Rate(1_000_000, 86_400)),
    ],
)
def test_a_rate_is_parsed(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    "text", ["", "5", "5/s", "-1/second", "1.5/second", "٣/second", "5/Second"]
)
def test_an_invalid_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='written like "10/minute"'):
        Rate.parse(text)


def test_the_window_of_a_rate_limit_forgets_old_starts() -> None:
    @task(rate_limit="2/second")
    async def rare() -> None: ...

    job = Job("1", rare, ((), {}), NO_OPTIONS, 60)
    job.limit_group = job.name
    group = JobGroup(job)
    for now in (0.0, 0.5, 1.2, 1.5):
        assert group.next_start() <= now
        group.note_start(now)
    assert group.next_start() == pytest.approx(2.2)
    assert group._starts == deque([1.2, 1.5])


async def test_limit_groups_of_ended_jobs_are_freed() -> None:
    @task(max_concurrency=1, per="n")
    async def work(n: int) -> None: ...

    async with TaskRunner(TaskSettings()) as runner:
        for n in range(1000):
            runner.submit(work, n)
            await runner.join(10)
        assert runner._dispatcher is not None
        assert len(runner._dispatcher.queue._groups) <= 100
