"""`enqueue`: durable tasks from code without a running engine."""

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from app.tasks import ArgumentError, Priority, Task, enqueue, task
from app.tasks.testing import run_waiting

from .test_outbox import Thing
from .world import RARE_POLLS, World, leave_effect


@task(durable=True, priority=Priority.HIGH)
async def work(n: int) -> None:
    await leave_effect(n)


@task
async def plain(n: int) -> None:
    """Do nothing, in memory."""


async def test_a_script_can_enqueue_a_task(world: World) -> None:
    engine = create_engine(world.settings.sync_url)
    with Session(engine) as session:
        task_id = enqueue(session, work, 1)
        assert world.states == []
        session.commit()
    engine.dispose()
    async with world.process(work) as process:
        assert await process.watcher.until("succeeded") == [task_id]
    assert world.effects == [1]
    assert world.run("SELECT priority FROM background_tasks") == [3]


async def test_a_full_queue_does_not_refuse_it(world: World) -> None:
    async with world.process(work, queue_size=2) as process:
        async with process.database.session() as session:
            for n in range(30):
                enqueue(session, work, n)
        await run_waiting(process.runner, 20)
    assert sorted(world.effects) == list(range(30))


async def test_run_waiting_does_not_wait_for_the_next_poll(world: World) -> None:
    async with world.process(work, **RARE_POLLS) as process:
        assert process.runner._poller is not None
        await process.runner._poller.loop.stepped.wait()
        async with process.database.session() as session:
            enqueue(session, work, 1)
        await run_waiting(process.runner)
    assert world.effects == [1]


def test_the_engine_of_a_script_may_have_its_own_json_serializer(world: World) -> None:
    engine = create_engine(world.settings.sync_url, json_serializer=lambda _: "{}")
    with Session(engine) as session, session.begin():
        enqueue(session, work, 1)
    engine.dispose()
    assert world.run("SELECT arguments FROM background_tasks") == ['{"n": 1}']


async def test_enqueue_joins_the_transaction_of_the_given_session(world: World) -> None:
    engine = create_async_engine(world.settings.async_url)
    async with AsyncSession(engine) as session:
        enqueue(session, work, 1)
        await session.rollback()
        enqueue(session, work, n=2)
        await session.execute(text("INSERT INTO effects (n) VALUES (7)"))
        await session.commit()
        enqueue(session, work, 3)
    await engine.dispose()
    async with world.process(work) as process:
        await process.watcher.until("succeeded")
    assert world.effects == [7, 2]


def enqueue_in_open_savepoints(session: Session, depth: int) -> None:
    enqueue(session, work, 1)
    for _ in range(depth):
        with session.begin_nested():
            enqueue(session, work, 2)
        session.begin_nested()
        enqueue(session, work, 3)


@pytest.mark.parametrize("depth", [1, 2])
def test_savepoints_open_at_the_commit_keep_their_rows_in_order(world: World, depth: int) -> None:
    engine = create_engine(world.settings.sync_url)
    with Session(engine) as session, session.begin():
        enqueue_in_open_savepoints(session, depth)
    with Session(engine) as session:
        enqueue_in_open_savepoints(session, depth)
        session.commit()
        enqueue_in_open_savepoints(session, depth)  # rolled back at the end of the block
    engine.dispose()
    order = world.run("SELECT arguments FROM background_tasks ORDER BY position")
    assert order == [f'{{"n": {n}}}' for n in [1, *[2, 3] * depth] * 2]


def test_a_commit_hook_that_flushes_beside_an_open_savepoint_loses_no_row(world: World) -> None:
    world.run("CREATE TABLE things (id INTEGER PRIMARY KEY)")

    def flush(session: Session) -> None:
        if not session.info.setdefault("flushed", False):
            session.info["flushed"] = True
            session.add(Thing(id=7))
            session.flush()

    engine = create_engine(world.settings.sync_url)
    with Session(engine) as session, session.begin():
        enqueue(session, work, 1)
        session.begin_nested()
        event.listen(session, "before_commit", flush)
    engine.dispose()
    assert world.states == ["queued"]


def test_a_savepoint_open_inside_a_rolled_back_one_loses_no_outer_row(world: World) -> None:
    engine = create_engine(world.settings.sync_url)
    with Session(engine) as session, session.begin():
        enqueue(session, work, 1)
        outer = session.begin_nested()
        inner = session.begin_nested()
        session.begin_nested()
        inner.commit()
        outer.rollback()
    engine.dispose()
    assert world.states == ["queued"]


def test_a_commit_hook_can_enqueue_in_a_savepoint_beside_an_open_one(world: World) -> None:
    def add(session: Session) -> None:
        if not session.info.setdefault("added", False):
            session.info["added"] = True
            with session.begin_nested():
                enqueue(session, work, 2)

    engine = create_engine(world.settings.sync_url)
    with Session(engine) as session, session.begin():
        enqueue(session, work, 1)
        session.begin_nested()
        event.listen(session, "before_commit", add)
    engine.dispose()
    assert world.states == ["queued"] * 2


def test_a_commit_hook_can_enqueue_the_first_task(world: World) -> None:
    def add(session: Session) -> None:
        enqueue(session, work, 1)

    engine = create_engine(world.settings.sync_url)
    with Session(engine) as session, session.begin():
        event.listen(session, "before_commit", add)
        session.execute(text("INSERT INTO effects (n) VALUES (7)"))
    engine.dispose()
    assert world.states == ["queued"]


async def test_a_running_process_runs_an_enqueued_task(world: World) -> None:
    async with world.process(work) as process, process.database.session() as session:
        enqueue(session, work, 1)
        await session.commit()
        await process.watcher.until("succeeded")
    assert world.effects == [1]


@pytest.mark.parametrize("func", [plain, plain.func])
def test_tasks_that_are_not_durable_are_refused(func: Task[[int], None]) -> None:
    with Session() as session, pytest.raises(TypeError, match=r"task\(durable=True\)"):
        enqueue(session, func, 1)


def test_arguments_are_checked_by_enqueue() -> None:
    with Session() as session, pytest.raises(ArgumentError):
        enqueue(session, work, object())  # type: ignore[arg-type]
