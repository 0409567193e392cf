"""Which durable tasks can be submitted, from where, and what a full queue refuses."""

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from app.db import task_session
from app.tasks import (
    ArgumentError,
    QueueFull,
    Retry,
    TaskRunner,
    TaskSettings,
    UnknownTaskError,
    current_runner,
    current_task,
    task,
)
from tests.tasks.gate import Gate

from .world import World, leave_effect


@task(durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


@task(durable=True)
async def unlisted() -> None:
    """Do nothing; no runner knows this task."""


@task(durable=True, retry=Retry(attempts=2, delay=0))
async def parent(n: int) -> None:
    info = current_task()
    assert info is not None
    async with task_session():
        current_runner().submit(work, n)
        if info.attempt == 1:
            raise ValueError(n)
    await leave_effect(-n)


async def test_tasks_of_one_transaction_start_in_submission_order(world: World) -> None:
    async with world.process(work, max_concurrency=1) as process:
        async with process.database.session():
            for n in range(30):
                process.runner.options(key=None if n % 3 else str(n)).submit(work, n)
        await process.runner.join(20)
    assert world.effects == list(range(30))


async def test_very_many_rows_of_one_transaction_keep_submission_order(world: World) -> None:
    counts: list[int] = []

    def count_parameters(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith(("INSERT INTO background_tasks", "DELETE FROM background_task_")):
            counts.append(len(parameters))

    process = world.process(work, claim="none", queue_size=3000)
    event.listen(Engine, "before_cursor_execute", count_parameters)
    async with process as one, one.database.session():
        for n in range(2500):
            one.runner.options(key=str(n) if n % 2 else None).submit(work, n)
    event.remove(Engine, "before_cursor_execute", count_parameters)
    # A parameter for each value of each row would block the event loop for 100 ms, and for each
    # key there would be more than a statement may have.
    assert len(counts) == 2
    assert max(counts) < 100
    order = world.run("SELECT arguments FROM background_tasks ORDER BY position")
    assert order == [f'{{"n": {n}}}' for n in range(2500)]


async def test_a_task_unknown_to_the_runner_is_refused(world: World) -> None:
    async with world.process(work) as process, process.database.session():
        with pytest.raises(UnknownTaskError, match="unlisted: list it in the `tasks`"):
            process.runner.submit(unlisted)
        assert process.reserved == 0


async def test_a_retry_option_for_one_call_is_refused(world: World) -> None:
    async with world.process(work) as process, process.database.session():
        with pytest.raises(ValueError, match="retry"):
            process.runner.options(retry=Retry()).submit(work, 1)
        assert process.reserved == 0


async def test_arguments_that_cannot_be_stored_are_refused(world: World) -> None:
    async with world.process(work) as process, process.database.session():
        with pytest.raises(ArgumentError):
            process.runner.submit(work, object())  # type: ignore[call-overload]
        assert process.reserved == 0


async def test_a_runner_without_sessions_refuses_durable_tasks() -> None:
    async with TaskRunner(TaskSettings()) as runner:
        with pytest.raises(RuntimeError, match="sessions"):
            runner.submit(work, 1)
        with pytest.raises(RuntimeError, match="sessions"):
            _ = runner.store
        assert await runner.retry_durable("x") is False
        assert runner._capacity.reserved == 0


async def test_a_full_queue_refuses_durable_tasks(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def held(n: int) -> None:
        await gate.hold(n)

    # Polls are rare, because a count may include a task whose commit is just being reported.
    async with world.process(
        held, max_concurrency=1, queue_size=2, lease=240.0, sweep_interval=60.0
    ) as process:
        await process.submit(held, 0)
        await gate.holds(1)
        for n in (1, 2):
            await process.submit(held, n)
        async with process.database.session():
            with pytest.raises(QueueFull):
                process.runner.submit(held, 3)
        assert len(world.states) == 3
        gate.open()
        await process.watcher.until("succeeded", 3)
        await process.assert_everything_is_released()
    assert gate.left == [0, 1, 2]


async def test_a_task_may_add_tasks_when_the_queue_is_full(world: World) -> None:
    """A task was accepted together with everything that it adds."""

    @task(durable=True)
    async def adds_many() -> None:
        async with task_session():
            for n in range(10):
                current_runner().submit(work, n)

    async with world.process(work, adds_many, queue_size=1) as process:
        await process.submit(adds_many)
        await process.watcher.until("succeeded", 11)
        await process.assert_everything_is_released()
    assert sorted(world.effects) == list(range(10))


async def test_tasks_added_by_a_task_are_committed_with_its_transaction(world: World) -> None:
    async with world.process(work, parent) as process:
        await process.submit(parent, 1)
        await process.watcher.until("succeeded", 2)
        await process.assert_everything_is_released()
    assert sorted(world.effects) == [-1, 1]  # the task of the failed run was rolled back


async def test_an_in_memory_task_cannot_use_the_session_of_its_submitter(world: World) -> None:
    outcome: list[BaseException] = []
    over = asyncio.Event()

    async def plain() -> None:
        try:
            current_runner().submit(work, 1)
        except RuntimeError as error:
            outcome.append(error)
        over.set()

    async with world.process(work) as process:
        async with process.database.session():
            process.runner.submit(plain)
            async with asyncio.timeout(5):
                await over.wait()
        assert [type(error).__name__ for error in outcome] == ["OutsideTransactionError"]
        assert world.states == []


async def test_threads_can_submit_durable_tasks(world: World) -> None:
    async with world.process(work) as process:
        async with process.database.session():
            ids = await asyncio.gather(
                *(asyncio.to_thread(process.runner.submit, work, n) for n in range(20))
            )
        assert set(await process.watcher.until("succeeded", 20)) == set(ids)
        await process.assert_everything_is_released()


async def test_a_durable_sync_task_runs_in_a_thread(world: World) -> None:
    threads: list[str] = []

    @task(durable=True)
    def sync() -> None:
        threads.append(threading.current_thread().name)

    async with world.process(sync) as process:
        await process.submit(sync)
        await process.watcher.until("succeeded")
    assert threads == ["task-1"]


async def test_rows_waiting_in_the_table_fill_the_queue(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def held() -> None:
        await gate.hold()

    for n in range(4):
        await world.insert(f"other-{n}", held.name)
    async with world.process(held, max_concurrency=1, queue_size=3) as process:
        await gate.holds(1)
        assert process.runner._poller is not None
        await process.runner._poller.loop.stepped.wait()
        async with process.database.session():
            with pytest.raises(QueueFull):
                process.runner.submit(held)
        gate.open()
        await process.watcher.until("succeeded", 4)
