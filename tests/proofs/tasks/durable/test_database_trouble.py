"""A database that is locked or away: the service stays up and loses no task."""

import pytest
from sqlalchemy.exc import OperationalError

from app.tasks import Retry, TaskState, task
from tests.tasks.gate import Gate

from .calls import Calls
from .world import World, leave_effect


@task(durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


class Trouble:
    """Makes a method fail, once or until `calls.before` is reset."""

    def __init__(self, calls: Calls, error: Exception, *, once: bool = True) -> None:
        self._calls = calls
        self._error = error
        self._once = once
        calls.before = self.fail

    async def fail(self) -> None:
        if self._once:
            self._calls.before = None
        raise self._error


ERRORS = [
    OperationalError("UPDATE", {}, Exception("database is locked")),
    ValueError("no active connection"),  # raised by a driver, not by SQLAlchemy
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", ["claim_due", "renew", "backlog", "leases_too_long", "prune"])
async def test_polls_and_renewals_recover_from_database_errors(
    world: World, monkeypatch: pytest.MonkeyPatch, gate: Gate, error: Exception, name: str
) -> None:
    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long, work) as process:
        await process.submit(long)
        await gate.holds(1)
        durable, poller = process.runner._durable, process.runner._poller
        assert durable is not None
        assert poller is not None
        durable._count_at = 0.0
        calls = Calls(monkeypatch, process.store, name)
        trouble = Trouble(calls, error, once=False)
        poller.loop.wake()
        durable._leases.loop.wake()
        await calls.more(1)
        await world.insert("row", work.name, arguments='{"n": 1}')
        assert trouble is not None
        calls.before = None
        await process.watcher.until("succeeded")
        gate.open()
        await process.watcher.until("succeeded", 2)
        await process.assert_everything_is_released()
    assert world.effects == [1]


@pytest.mark.parametrize(("error", "traced"), list(zip(ERRORS, [False, True], strict=True)))
async def test_a_failing_poll_is_logged_when_it_begins_and_when_it_ends(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    traced: bool,  # an error of the database is logged without traceback
) -> None:
    async with world.process(work) as process:
        calls = Calls(monkeypatch, process.store, "claim_due")
        trouble = Trouble(calls, error, once=False)
        await calls.more(4)
        assert trouble is not None
        calls.before = None
        await calls.more(2)  # before the second, the success of the first has been logged
    lines = [r for r in caplog.records if r.name == "app.tasks.loop"]
    assert [bool(record.exc_info) for record in lines] == [traced, False]
    failed = f"polling the table of durable tasks failed: {type(error).__name__}: "
    assert failed in lines[0].getMessage()
    assert lines[1].getMessage() == "polling the table of durable tasks works again"


@pytest.mark.parametrize("error", ERRORS)
async def test_the_end_of_a_task_is_recorded_when_the_database_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The task runs once."""
    async with world.process(work) as process:
        Trouble(Calls(monkeypatch, process.store, "succeed"), error)
        task_id = await process.submit(work, 1)
        await process.assert_everything_is_released()
        record = await process.record(task_id)
    assert (record.state, record.attempts) == (TaskState.SUCCEEDED, 1)
    assert world.effects == [1]


async def test_a_task_runs_again_when_its_end_is_not_recorded_within_its_lease(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Execution is promised at least once."""
    async with world.process(work) as process:
        calls = Calls(monkeypatch, process.store, "succeed")
        Trouble(calls, ERRORS[0], once=False)
        task_id = await process.submit(work, 1)
        await process.watcher.until("succeeded")
        calls.before = None
        await process.watcher.until("succeeded", 2)
        await process.assert_everything_is_released()
        record = await process.record(task_id)
    assert (record.state, record.attempts) == (TaskState.SUCCEEDED, 2)
    assert world.effects == [1, 1]


async def test_a_task_is_retried_although_its_requeue_failed_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    @task(durable=True, retry=Retry(attempts=2, delay=0))
    async def flaky() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError

    async with world.process(flaky) as process:
        Trouble(Calls(monkeypatch, process.store, "requeue"), ERRORS[0])
        await process.submit(flaky)
        await process.watcher.until("succeeded")
        await process.assert_everything_is_released()
    assert world.states == ["succeeded"]


async def test_a_shutdown_without_the_database_loses_no_task(
    world: World, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    @task(durable=True, max_concurrency=1)
    async def long() -> None:
        await gate.hold()

    async with world.process(long, drain_timeout=0.01) as process:
        async with process.database.session():
            for _ in range(2):
                process.runner.submit(long)
        await gate.holds(1)
        Trouble(Calls(monkeypatch, process.store, "requeue"), ERRORS[0], once=False)
    gate.open()
    async with world.process(long) as process:
        await process.watcher.until("succeeded", 2)
    assert world.states == ["succeeded", "succeeded"]
