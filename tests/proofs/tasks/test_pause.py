"""Pausing, resuming and limiting tasks at run time, in one process."""

import asyncio
from typing import Any

import pytest

from app.tasks import QueueFull, Retry, TaskRunner, TaskSettings, UnknownTaskError, task
from app.tasks.options import Call
from tests.tasks.gate import Gate
from tests.tasks.watcher import Watcher

from .virtual_time import ON_VIRTUAL_TIME, advance, settle

pytestmark = ON_VIRTUAL_TIME
order: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    order.clear()


@task(name="note")
async def note(label: Any) -> None:
    order.append(label)


@task(name="other")
async def other() -> None:
    order.append("other")


def time_now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_paused_task_starts_only_when_resumed_and_in_order() -> None:
    async with TaskRunner(TaskSettings(max_concurrency=1), tasks=[note, other]) as runner:
        await runner.pause("note")
        for label, priority in (("n1", 5), ("low", 7), ("n2", 5), ("urgent", 0), ("n3", 5)):
            runner.submit(note, label, priority=priority)
        runner.options(delay=3).submit(note, "later")
        runner.submit(other)
        await advance(5)
        assert order == ["other"]
        assert [(item.paused, item.waiting) for item in runner.types()] == [(True, 6), (False, 0)]
        await runner.resume("note")
        await runner.join()
    assert order == ["other", "urgent", "n1", "n2", "n3", "later", "low"]


async def test_a_running_task_goes_on_during_a_pause_but_its_retry_waits(gate: Gate) -> None:
    @task(name="held", retry=Retry(attempts=2, delay=0))
    async def held() -> None:
        await gate.hold()
        if len(gate.left) == 1:
            raise ValueError

    async with TaskRunner(TaskSettings(), tasks=[held]) as runner:
        runner.submit(held)
        await gate.holds(1)
        await runner.pause("held")
        gate.open()
        await advance(5)
        assert (len(gate.left), runner.types()[0].waiting) == (1, 1)
        await runner.resume("held")
        await runner.join()
    assert len(gate.left) == 2


async def test_max_concurrency_holds_when_a_pause_ends(gate: Gate) -> None:
    """Jobs that the limit held back when the pause began are not forgotten either."""

    @task(name="narrow", max_concurrency=2)
    async def narrow(label: int) -> None:
        await gate.hold(label)

    async with TaskRunner(TaskSettings(max_concurrency=9), tasks=[narrow]) as runner:
        for n in range(5):
            runner.submit(narrow, n)
        await gate.holds(2)
        await runner.pause("narrow")
        for n in range(5, 9):
            runner.submit(narrow, n)
        gate.open()
        await settle()
        assert gate.left == [0, 1]
        gate._open.clear()
        await runner.resume("narrow")
        await settle()
        assert gate.entered == [0, 1, 2, 3]
        gate.open()
        await runner.join()
    assert gate.left == list(range(9))
    assert gate.most_inside == 2


@pytest.mark.parametrize("pause", [0.5, 1.5, 7.0])
async def test_the_rate_limit_holds_when_a_pause_ends(pause: float) -> None:
    """The pause may end before, during or after the wait for the rate limit."""
    starts: list[tuple[int, float]] = []

    @task(name="rare", rate_limit="2/second")
    async def rare(n: int) -> None:
        starts.append((n, time_now()))

    async with TaskRunner(TaskSettings(), tasks=[rare]) as runner:
        for n in range(5):
            runner.submit(rare, n)
        await settle()
        await runner.pause("rare")
        for n in range(5, 9):
            runner.submit(rare, n)
        await advance(pause)
        assert [n for n, _ in starts] == [0, 1]
        await runner.resume("rare")
        await runner.join()
    times = [time for _, time in starts]
    assert [n for n, _ in starts] == list(range(9))
    assert all(third - first >= 1 - 1e-9 for first, third in zip(times, times[2:], strict=False))


async def test_paused_tasks_can_be_cancelled_and_fill_the_queue() -> None:
    settings, watcher = TaskSettings(queue_size=3), Watcher()
    async with TaskRunner(settings, [watcher], tasks=[note]) as runner:
        await runner.pause("note")
        ids = [runner.submit(note, n) for n in range(3)]
        await settle()
        with pytest.raises(QueueFull):
            runner.submit(note, 3)
        assert runner.cancel(ids[0])
        assert runner.cancel(ids[1])
        runner.submit(note, 4)
        await runner.resume("note")
        await runner.join()
        assert order == [2, 4]
        assert runner._capacity.reserved == 0
    assert watcher.ids("cancelled") == ids[:2]


async def test_paused_tasks_do_not_delay_a_shutdown(
    caplog: pytest.LogCaptureFixture, gate: Gate
) -> None:
    @task(name="last")
    async def last() -> None:
        await gate.hold()
        runner.submit(note, "submitted by the last")

    async with TaskRunner(TaskSettings(drain_timeout=1000), tasks=[note, last]) as runner:
        await runner.pause("note")
        task_id = runner.submit(note, "early")
        runner.submit(last)
        await gate.holds(1)
        begin = time_now()
        gate.open()
    assert time_now() - begin < 1
    assert order == []
    assert f"2 tasks were cancelled by the shutdown: note ({task_id}), note (" in caplog.text


async def test_max_concurrency_can_be_changed_while_tasks_run(gate: Gate) -> None:
    """A task without limits gets some, and the running jobs count towards them."""

    @task(name="wide")
    async def wide(n: int) -> None:
        await gate.hold(n)

    async with TaskRunner(TaskSettings(), tasks=[wide, note]) as runner:
        for n in range(3):
            runner.submit(wide, n)
        await gate.holds(3)
        await runner.pause("wide")
        for n in range(3, 9):
            runner.submit(wide, n)
        await settle()
        await runner.limit("wide", max_concurrency=2)
        await runner.resume("wide")
        await settle()
        assert gate.inside == 3
        await runner.limit("wide", max_concurrency=5)
        await settle()
        assert gate.entered == [0, 1, 2, 3, 4]
        await runner.limit("wide", max_concurrency=6, rate_limit="100/hour")
        await settle()
        assert gate.inside == 6
        await runner.limit("wide")
        await settle()
        assert gate.inside == 9
        gate.open()
        await runner.join()
        assert [(item.max_concurrency, item.rate_limit) for item in runner.types()] == [
            (None, None)
        ] * 2
        await runner.limit("wide", max_concurrency=1)
        gate._open.clear()
        for n in range(9, 12):
            runner.submit(wide, n)
        await settle()
        assert gate.inside == 1
        gate.open()


async def test_a_rate_limit_can_be_changed_while_tasks_wait_for_it() -> None:
    starts: list[float] = []

    @task(name="rare", rate_limit="1/day")
    async def rare() -> None:
        starts.append(time_now())

    async with TaskRunner(TaskSettings(drain_timeout=0), tasks=[rare]) as runner:
        for _ in range(7):
            runner.submit(rare)
        await advance(10)
        assert len(starts) == 1
        await runner.limit("rare", rate_limit="2/minute")
        await settle()
        assert len(starts) == 2  # the first start counts towards the new rate
        await advance(51)
        assert len(starts) == 3
        await runner.limit("rare", rate_limit="1000/second")
        await settle()
        assert len(starts) == 7


async def test_a_rate_limit_can_be_removed_and_set_again() -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))

    @task(name="rare")
    async def rare() -> None: ...

    async with TaskRunner(TaskSettings(), tasks=[rare]) as runner:
        await runner.limit("rare", rate_limit="1/minute")
        runner.submit(rare)
        await settle()
        await runner.limit("rare")
        await runner.limit("rare", rate_limit="1/minute")
        await advance(61)
    assert problems == []


async def test_a_limit_per_parameter_value_can_be_changed(gate: Gate) -> None:
    @task(name="export", max_concurrency=1, per="tenant")
    async def export(tenant: str) -> None:
        await gate.hold(tenant)

    async with TaskRunner(TaskSettings(), tasks=[export]) as runner:
        for tenant in "abab" * 2:
            runner.submit(export, tenant)
        await gate.holds(2)
        await runner.limit("export", max_concurrency=3)
        await settle()
        assert sorted(gate.entered) == ["a"] * 3 + ["b"] * 3
        gate.open()


async def test_a_changed_limit_holds_for_tasks_accepted_before_it(gate: Gate) -> None:
    """The tasks of a request are enqueued at its end, after the change."""

    @task(name="held")
    async def held() -> None:
        await gate.hold()

    async with TaskRunner(TaskSettings(), tasks=[held]) as runner:
        accepted = [runner.reserve(Call(held, (), {})) for _ in range(3)]
        await runner.limit("held", max_concurrency=1)
        for submission in accepted:
            submission.enqueue()
        await settle()
        assert len(gate.entered) == 1
        gate.open()


async def test_pausing_in_one_runner_does_not_affect_another(gate: Gate) -> None:
    @task(name="narrow", max_concurrency=1)
    async def narrow() -> None:
        await gate.hold()

    gate.open()
    async with (
        TaskRunner(TaskSettings(), tasks=[narrow]) as one,
        TaskRunner(TaskSettings(), tasks=[narrow]) as two,
    ):
        await one.limit("narrow", max_concurrency=7)
        await one.pause("narrow")
        assert [(t.paused, t.max_concurrency) for t in one.types()] == [(True, 7)]
        assert [(t.paused, t.max_concurrency) for t in two.types()] == [(False, 1)]
    assert narrow.max_concurrency == 1


async def test_unknown_tasks_and_invalid_limits_are_refused() -> None:
    async with TaskRunner(TaskSettings(), tasks=[note]) as runner:
        for change in (runner.pause, runner.resume, runner.limit):
            with pytest.raises(UnknownTaskError, match="no task called unknown"):
                await change("unknown")
        with pytest.raises(ValueError, match="max_concurrency"):
            await runner.limit("note", max_concurrency=0)
        with pytest.raises(ValueError, match="rate_limit"):
            await runner.limit("note", rate_limit="often")
