"""Keys, which add a task only once while it waits or runs, and times at which tasks are due."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.tasks import Options, Retry, Snooze, TaskRunner, TaskSettings, task
from app.tasks.options import Call
from tests.tasks.gate import Gate

from .recorder import Recorder

runs: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    runs.clear()


async def test_twenty_submissions_with_one_key_are_one_run(recorder: Recorder, gate: Gate) -> None:
    @task
    async def bill(customer: str) -> None:
        runs.append(customer)
        await gate.hold()

    async with TaskRunner(TaskSettings(queue_size=100), [recorder]) as runner:
        ids = {runner.options(key="ann").submit(bill, "ann") for _ in range(10)}
        await gate.holds(1)
        ids |= {runner.options(key="ann").submit(bill, "ann") for _ in range(10)}
        assert len(ids) == 1
        assert ids != {runner.options(key="bob").submit(bill, "bob")}
        gate.open()
        await runner.join(5)
        assert sorted(runs) == ["ann", "bob"]
        assert recorder.hooks.count("queued") == 2
        assert runner._capacity.reserved == 0

        assert {runner.options(key="ann").submit(bill, "ann")} == ids
        await runner.join(5)
    assert sorted(runs) == ["ann", "ann", "bob"]


@pytest.mark.parametrize("error", [ValueError(), Snooze(0.01)])
async def test_a_task_awaiting_a_retry_keeps_its_key(engine: TaskRunner, error: Exception) -> None:
    tried = asyncio.Event()

    @task(retry=Retry(delay=1e6, max_delay=1e6))
    async def bill() -> None:
        runs.append("")
        tried.set()
        raise error

    bill_id = engine.options(key="a").submit(bill)
    await tried.wait()
    assert engine.options(key="a").submit(bill) == bill_id
    assert engine.cancel(bill_id)
    await engine.join(5)
    assert engine._capacity.reserved == 0


@pytest.mark.parametrize("delay", [0.0, 60.0])
async def test_a_key_is_free_when_its_task_is_cancelled_before_it_begins(
    engine: TaskRunner, recorder: Recorder, delay: float
) -> None:
    """Cancelling a task must not also cancel the next one, which has the same id."""

    @task
    async def bill(amount: str) -> None:
        runs.append(amount)

    bill_id = engine.options(key="a", delay=delay).submit(bill, "old")
    for amount in ("newer", "newest"):
        assert engine.cancel(bill_id)
        assert engine.options(key="a").submit(bill, amount) == bill_id
    assert engine._capacity.reserved == 0
    await engine.join(5)
    assert runs == ["newest"]
    assert sorted(recorder.hooks) == ["cancelled"] * 2 + ["queued"] * 3 + ["started", "succeeded"]
    assert engine.snapshot().tasks == ()


async def test_two_tasks_may_use_the_same_key(engine: TaskRunner) -> None:
    @task(name="one")
    async def one() -> None: ...

    @task(name="two")
    async def two() -> None: ...

    assert engine.options(key="a").submit(one) != engine.options(key="a").submit(two)


async def test_a_key_needs_a_decorated_task_and_some_text(engine: TaskRunner) -> None:
    with pytest.raises(ValueError, match="decorate"):
        engine.options(key="a").submit(lambda: None)
    with pytest.raises(ValueError, match=r"key\n.* at least 1 character"):
        engine.options(key="")


async def test_a_task_with_a_time_waits_until_then(engine: TaskRunner) -> None:
    soon, past = datetime.now(UTC) + timedelta(minutes=2), datetime(2020, 1, 1, tzinfo=UTC)
    later = engine.options(at=soon).submit(runs.append, "later")
    has_run = asyncio.Event()
    engine.options(at=past).submit(has_run.set)
    async with asyncio.timeout(5):
        await has_run.wait()
    (waiting,) = (summary for summary in engine.snapshot().tasks if summary.id == later)
    assert -120 <= waiting.age < -60
    assert engine.cancel(later)


async def test_a_time_reached_before_the_request_ends_is_no_delay(engine: TaskRunner) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.05)
    submission = engine.reserve(Call(runs.append, ("soon",), {}, Options(at=soon)))
    while datetime.now(UTC) < soon:
        pass  # the request is still being handled
    submission.enqueue()
    assert engine.snapshot().delayed == {}


@pytest.mark.parametrize(
    "options",
    [{"at": datetime(2030, 1, 1)}, {"at": datetime(2030, 1, 1, tzinfo=UTC), "delay": 1.0}],  # noqa: DTZ001 - naive on purpose
)
def test_a_time_without_a_zone_or_with_a_delay_is_refused(
    options: dict[str, object], recorder: Recorder
) -> None:
    with pytest.raises(ValueError, match=r"timezone|give one of them"):
        TaskRunner(TaskSettings(), [recorder]).options(**options)  # type: ignore[arg-type]
