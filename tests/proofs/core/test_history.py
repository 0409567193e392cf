"""The history of ended tasks: what it remembers, and for how many of them."""

import asyncio
from itertools import count

import pytest

import app.history
from app.history import History
from app.tasks import (
    Priority,
    Retry,
    Snooze,
    TaskInfo,
    TaskRunner,
    TaskSettings,
    TaskState,
    current_task,
    task,
)


@pytest.fixture
def history() -> History:
    return History()


def make_runner(history: History) -> TaskRunner:
    return TaskRunner(TaskSettings(queue_size=10_000), [history])


async def test_ended_tasks_are_remembered_with_times_and_redacted_errors(history: History) -> None:
    states_at_start: list[str] = []

    @task(name="sometimes", retry=Retry(attempts=2, delay=0))
    async def sometimes(good: bool) -> None:
        states_at_start.extend(record.state for record in history.failures())
        if not good:
            raise ValueError("password=hunter2")

    async with make_runner(history) as runner:
        runner.submit(sometimes, good=True)
        await runner.join(5)
        failing = runner.submit(sometimes, good=False)
        await runner.join(5)
    (latest,) = history.failures()
    traceback = latest.traceback or ""

    assert states_at_start == [TaskState.QUEUED]  # failed once and waiting for its second attempt
    assert {run.state for run in history.all()} == {TaskState.SUCCEEDED, TaskState.FAILED}
    for run in history.all():
        assert run.started_at is not None
        assert run.finished_at is not None
        assert run.due_at <= run.started_at <= run.finished_at < run.due_at + 5
    assert history.get(failing) is latest
    assert latest.attempts == 2
    assert latest.error == "ValueError: password=***"
    assert "hunter2" not in traceback
    assert "in sometimes" in traceback
    assert traceback.endswith("ValueError: password=***")


async def test_delayed_task_is_due_after_its_delay(history: History) -> None:
    async with make_runner(history) as runner:
        task_id = runner.options(delay=0.1).submit(print, end="")
        await runner.join(5)
    record = history.get(task_id)

    assert record is not None
    assert record.due_at - record.created_at == pytest.approx(0.1, abs=0.05)


async def test_timeout_counts_as_a_failure_and_cancellation_does_not(history: History) -> None:
    @task(timeout=0.01)
    async def slow() -> None:
        await asyncio.Event().wait()

    async with make_runner(history) as runner:
        runner.submit(slow)
        await runner.join(5)
        cancelled = runner.options(delay=100).submit(slow)
        runner.cancel(cancelled)
        await runner.join(5)
    record = history.get(cancelled)
    assert record is not None

    assert [failure.state for failure in history.failures()] == [TaskState.TIMED_OUT]
    assert record.state is TaskState.CANCELLED


async def test_snoozed_run_is_not_a_failure(history: History) -> None:
    @task
    async def not_now() -> None:
        job = current_task()
        assert job is not None
        if job.attempt == 1 and not history.all():
            raise Snooze(0)

    async with make_runner(history) as runner:
        runner.submit(not_now)
        await runner.join(5)

    assert [record.state for record in history.all()] == [TaskState.SUCCEEDED]
    assert history.failures() == []


async def test_history_is_bounded_and_successes_do_not_displace_failures(history: History) -> None:
    async def fail(n: int) -> None:
        raise ValueError(n)

    async with make_runner(history) as runner:
        for n in range(1100):
            runner.submit(fail, n)
        await runner.join(20)
        for _ in range(1100):
            runner.submit(print, end="")
        await runner.join(20)

    assert len(history.all()) == 2000
    assert len(history.failures()) == 1000
    assert history.failures()[0].error == "ValueError: 1099"


def end_task(history: History, task_id: str, state: TaskState) -> None:
    info = TaskInfo(task_id, "plain", 5)
    info.state = state
    info.error = ValueError() if state is TaskState.FAILED else None
    getattr(history, state)(info)


def test_oldest_tasks_are_forgotten_beyond_the_limit() -> None:
    history = History(limit=3)
    for n in range(8):
        end_task(history, str(n), TaskState.FAILED if n % 2 else TaskState.SUCCEEDED)

    assert [record.id for record in history.failures()] == ["7", "5", "3"]
    assert [history.get(str(n)) is not None for n in range(4)] == [False, False, True, True]


def test_since_leaves_out_the_time_of_forgotten_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.history, "time", count(100.0).__next__)
    history = History(limit=3)
    for n in range(8):
        end_task(history, str(n), TaskState.SUCCEEDED if n > 2 else TaskState.FAILED)
    end_task(history, "8", TaskState.FAILED)  # pushes out the oldest failure

    assert [record.id for record in history.since(0)] == ["8", "5", "6", "7"]
    assert [record.id for record in history.since(107)] == ["8"]
    assert history.get("1") is not None


def test_a_task_that_ends_twice_is_remembered_once() -> None:
    history = History(limit=2)
    for task_id, state in [("a", "failed"), ("b", "failed"), ("a", "succeeded"), ("c", "failed")]:
        end_task(history, task_id, TaskState(state))

    assert [record.id for record in history.failures()] == ["c", "b"]
    assert [record.id for record in history.all()] == ["b", "c", "a"]


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def recurse(depth: int) -> None:
    if depth == 0:
        raise ValueError("<&'\">" * 50_000)
    recurse(depth - 1)


def raised(depth: int) -> BaseException:
    try:
        recurse(depth)
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [
        UnprintableError(),
        raised(0),
        raised(500),
        ValueError("\n".join("<line>" * 9 for _ in range(5000))),
        ValueError("\0\ud800"),
        ValueError("/" * 100_000),
        ExceptionGroup("many", [ValueError(f"{n}" * 300) for n in range(500)]),
    ],
)
def test_a_traceback_is_text_of_bounded_size(history: History, error: BaseException) -> None:
    info = TaskInfo("id", "bad", Priority.NORMAL)
    info.error = error
    history.failed(info)
    (failure,) = history.failures()
    traceback = failure.traceback or ""

    assert 0 < len(traceback.encode()) <= 20_000 * 1.1
    assert "\0" not in traceback
