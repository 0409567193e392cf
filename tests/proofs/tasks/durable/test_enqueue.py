"""`enqueue`: durable tasks from code in which no engine runs."""

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from app.tasks import ArgumentError, Priority, Task, enqueue, task
from tests.tasks.gate import Gate

from .test_outbox import Thing
from .world import World, leave_effect


@task(durable=True, priority=Priority.HIGH)
async def work(n: int) -> None:
    await leave_effect(n)


@task
async def plain(n: int) -> None:
    """Live in memory."""


async def test_from_a_script(world: World) -> None:
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


async def test_in_the_transaction_of_a_session_of_ones_own(world: World) -> None:
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
def test_a_savepoint_that_is_open_at_the_end_ends_with_the_transaction(
    world: World, depth: int
) -> None:
    engine = create_engine(world.settings.sync_url)
    with Session(engine) as session, session.begin():
        enqueue_in_open_savepoints(session, depth)
    with Session(engine) as session:
        enqueue_in_open_savepoints(session, depth)
        session.commit()
        enqueue_in_open_savepoints(session, depth)  # and is rolled back
    engine.dispose()
    order = world.run("SELECT arguments FROM background_tasks ORDER BY position")
    assert order == [f'{{"n": {n}}}' for n in [1, *[2, 3] * depth] * 2]


def test_a_savepoint_is_open_at_a_commit_whose_hook_flushes(world: World) -> None:
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


def test_a_savepoint_is_open_at_the_commit_of_another_that_comes_to_nothing(world: World) -> None:
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


def test_a_hook_of_the_commit_has_a_savepoint_beside_an_open_one(world: World) -> None:
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


def test_the_first_is_added_by_a_hook_of_the_commit(world: World) -> None:
    def add(session: Session) -> None:
        enqueue(session, work, 1)

    engine = create_engine(world.settings.sync_url)
    with Session(engine) as session, session.begin():
        event.listen(session, "before_commit", add)
        session.execute(text("INSERT INTO effects (n) VALUES (7)"))
    engine.dispose()
    assert world.states == ["queued"]


async def test_a_running_service_finds_it(world: World, gate: Gate) -> None:
    async with world.process(work) as process, process.database.session() as session:
        enqueue(session, work, 1)
        await session.commit()
        await process.watcher.until("succeeded")
    assert gate.left == []


@pytest.mark.parametrize("func", [plain, plain.func])
def test_what_is_not_durable_is_refused(func: Task[[int], None]) -> None:
    with Session() as session, pytest.raises(TypeError, match=r"task\(durable=True\)"):
        enqueue(session, func, 1)


def test_arguments_are_checked() -> None:
    with Session() as session, pytest.raises(ArgumentError):
        enqueue(session, work, object())  # type: ignore[arg-type]
