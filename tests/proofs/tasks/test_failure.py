"""`on_failure` of in-memory tasks: called once, with the failed task, after its last attempt."""

from typing import Any

import pytest

from app.tasks import FailedTask, Retry, TaskRunner, TaskSettings, TaskState, task
from app.tasks.arguments import MAX_LENGTH
from tests.tasks.gate import Gate

failures: list[FailedTask] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    failures.clear()


@task
async def report(failed: FailedTask) -> None:
    failures.append(failed)


@task(on_failure=report, retry=Retry(attempts=2, on=(OSError,), delay=0))
async def work(number: int, *, error: str = "") -> None:
    if error and number:
        raise {"value": ValueError, "os": OSError}[error]("no password=secret")


@pytest.mark.parametrize(("error", "text"), [("value", "ValueError"), ("os", "OSError")])
async def test_on_failure_runs_once_when_a_task_has_failed_for_good(error: str, text: str) -> None:
    async with TaskRunner(TaskSettings()) as runner:
        task_id = runner.submit(work, 1, error=error)
        await runner.join(5)
    arguments: dict[str, Any] = {"number": 1, "error": error}
    state = TaskState.FAILED
    assert failures == [FailedTask(task_id, "work", arguments, state, f"{text}: no password=***")]


async def test_on_failure_does_not_run_after_a_success() -> None:
    async with TaskRunner(TaskSettings()) as runner:
        runner.submit(work, 1)
        await runner.join(5)
    assert failures == []


async def test_on_failure_runs_after_a_cancellation(gate: Gate) -> None:
    @task(on_failure=report)
    async def hold() -> None:
        await gate.hold()

    async with TaskRunner(TaskSettings(max_concurrency=1)) as runner:
        ids = [runner.submit(hold), runner.submit(hold)]
        await gate.holds(1)
        assert [runner.cancel(task_id) for task_id in reversed(ids)] == [True, True]
        await runner.join(5)
    assert [failed.id for failed in failures] == ids[::-1]
    assert {failed.state for failed in failures} == {TaskState.CANCELLED}


async def test_a_full_queue_that_refuses_on_failure_is_logged(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    @task(on_failure=report)
    async def fails() -> None:
        await gate.hold()
        raise ValueError

    async with TaskRunner(TaskSettings(max_concurrency=1, queue_size=1)) as runner:
        runner.submit(fails)
        await gate.holds(1)
        runner.submit(work, 1)
        gate.open()
        await runner.join(5)
        assert runner.snapshot().succeeded == 1
    assert "the on_failure of task " in caplog.text


def test_on_failure_and_its_task_must_both_be_durable_or_neither() -> None:
    with pytest.raises(ValueError, match="report and its task must both be durable"):
        task(durable=True, on_failure=report)(work.func)


@task
async def takes_nothing() -> None: ...


@task
async def takes_an_id(report_id: str) -> None: ...


def test_on_failure_must_be_listed_beside_its_task() -> None:
    with pytest.raises(ValueError, match="report, the on_failure of work, is in no list"):
        TaskRunner(TaskSettings(), tasks=[work])


@pytest.mark.parametrize("handler", [takes_nothing, takes_an_id, lambda _: None])
def test_on_failure_must_take_one_failed_task(handler: Any) -> None:
    with pytest.raises(ValueError, match="a task that takes one FailedTask"):
        task(on_failure=handler)(work.func)


async def test_on_failure_may_receive_more_than_one_argument_may_hold() -> None:
    @task(on_failure=report)
    async def fail(one: str, other: str) -> None:
        raise ValueError(len(one + other))

    text = "x" * (MAX_LENGTH - 2)
    async with TaskRunner(TaskSettings()) as runner:
        runner.submit(fail, text, text)
        await runner.join(5)
    assert [failed.arguments for failed in failures] == [{"one": text, "other": text}]
