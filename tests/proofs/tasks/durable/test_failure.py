"""`on_failure` of durable tasks: its row is in the transaction that ends the task."""

from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.tasks import FailedTask, Retry, TaskState, task
from tests.tasks.gate import Gate

from .calls import Calls
from .world import World, leave_effect

failures: list[FailedTask] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    failures.clear()


@task(durable=True)
async def report(failed: FailedTask) -> None:
    failures.append(failed)
    await leave_effect(0)


@task(durable=True, on_failure=report, retry=Retry(attempts=2, on=(OSError,), delay=0))
async def work(n: int) -> None:
    raise {1: ValueError, 2: OSError}[n]("no")


@task(durable=True, on_failure=report)
async def hold(n: int) -> None:
    await gates[n].hold()


gates: dict[int, Gate] = {}


@pytest.mark.parametrize(("n", "error"), [(1, "ValueError: no"), (2, "OSError: no")])
async def test_on_failure_runs_once_when_a_task_has_failed_for_good(
    world: World, n: int, error: str
) -> None:
    async with world.process(work, report) as process:
        task_id = await process.submit(work, n)
        await process.assert_everything_is_released()
    assert failures == [FailedTask(task_id, "work", {"n": n}, TaskState.FAILED, error)]
    assert sorted(world.states) == ["failed", "succeeded"]


async def test_on_failure_runs_after_a_dead_task(world: World) -> None:
    await world.insert("it", work.name, arguments='{"n": 1}', attempts=2, state="running")
    async with world.process(work, report) as process:
        await process.watcher.until("succeeded")
    assert [(failed.id, failed.state) for failed in failures] == [("it", TaskState.DEAD)]


@pytest.mark.parametrize(
    "values", [{"arguments": "no JSON"}, {"context": "no JSON"}, {"arguments": '{"n": "\\ud800"}'}]
)
async def test_a_row_that_on_failure_cannot_receive_ends_as_failed(
    world: World, values: dict[str, Any]
) -> None:
    await world.insert("it", work.name, **{"arguments": '{"n": 1}', **values})
    async with world.process(work, report) as process:
        await process.watcher.until("failed")
        await process.assert_everything_is_released()
    assert world.states == ["failed"]


async def test_on_failure_runs_for_cancelled_tasks_running_or_delayed(world: World) -> None:
    gates[1] = Gate()
    async with world.process(hold, report) as here, world.process() as there:
        running = await here.submit(hold, 1)
        await gates[1].holds(1)
        delayed = await here.submit(hold, 2, delay=3600)
        for task_id in (running, delayed):
            assert await here.runner.cancel_anywhere(task_id)
            assert not await there.runner.cancel_anywhere(task_id)
        await here.watcher.until("succeeded", 2)
        await here.assert_everything_is_released()
    assert sorted(failed.id for failed in failures) == sorted([running, delayed])


async def test_the_end_and_on_failure_are_written_together_or_not_at_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of `on_failure` is refused once: the end is not in the table before it."""
    async with world.process(work, report) as process:
        assert process.runner._durable is not None
        calls = Calls(monkeypatch, process.runner._durable.recorder, "_submit_on_failure")
        refusals = iter([OperationalError("INSERT", {}, Exception("no"))])

        async def refuse() -> None:
            for refusal in refusals:
                raise refusal

        calls.before = refuse
        await process.submit(work, 1)
        await process.watcher.until("succeeded")
        await process.assert_everything_is_released()
        assert process.watcher.attempts("started") == [1, 1]  # the task and its `on_failure`
    assert len(failures) == 1
    assert len(world.effects) == 1
