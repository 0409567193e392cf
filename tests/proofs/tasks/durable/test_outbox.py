"""The outbox: a row is committed with its transaction or not at all."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from weakref import ReferenceType, ref

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from app.db import Database
from app.tasks import OutsideTransactionError, enqueue, task
from app.tasks.durable.outbox import Entry

from .world import Process, World, leave_effect


@task(durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


@pytest.fixture
async def process(world: World) -> AsyncIterator[Process]:
    async with world.process(work) as process:
        yield process
        await process.assert_everything_is_released()


class Model(DeclarativeBase):
    """Base of the models of these tests."""


class Thing(Model):
    __tablename__ = "things"
    id: Mapped[int] = mapped_column(primary_key=True)


async def insert(session: AsyncSession, n: int) -> None:
    await session.execute(text("INSERT INTO effects (n) VALUES (:n)"), {"n": n})


async def test_the_row_is_there_only_after_the_commit(world: World, process: Process) -> None:
    async with process.database.session() as session:
        task_id = process.runner.submit(work, 1)
        await insert(session, 0)
        assert world.states == []
    assert await process.watcher.until("succeeded") == [task_id]
    assert world.effects == [0, 1]
    assert world.states == ["succeeded"]


async def test_an_exception_discards_the_row(world: World, process: Process) -> None:
    with pytest.raises(KeyError):  # noqa: PT012 - the end of the block raises
        async with process.database.session() as session:
            process.runner.submit(work, 1)
            await insert(session, 0)
            assert process.reserved == 1
            raise KeyError
    assert (world.states, world.effects) == ([], [])


async def test_a_failed_commit_discards_the_row(world: World, process: Process) -> None:
    world.run("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    world.run(
        "CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    with pytest.raises(IntegrityError):  # noqa: PT012 - the end of the block raises
        async with process.database.session() as session:
            process.runner.submit(work, 1)
            await session.execute(text("INSERT INTO child VALUES (7)"))
    assert world.states == []


async def test_many_rows_of_one_transaction_all_run(world: World, process: Process) -> None:
    async with process.database.session():
        for n in range(100):
            process.runner.submit(work, n)
    await process.watcher.until("succeeded", 100)
    assert sorted(world.effects) == list(range(100))


async def test_an_explicit_rollback_discards_the_row(world: World, process: Process) -> None:
    async with process.database.session() as session:
        process.runner.submit(work, 1)
        await session.rollback()
    assert world.states == []


async def test_closing_the_session_discards_the_row(world: World, process: Process) -> None:
    async with process.database.session() as session:
        process.runner.submit(work, 1)
        await insert(session, 0)
        await session.close()
    assert (world.states, world.effects) == ([], [])


async def test_losing_the_connection_discards_the_row(world: World, process: Process) -> None:
    with pytest.raises(ConnectionError):  # noqa: PT012 - the end of the block raises
        async with process.database.session() as session:
            process.runner.submit(work, 1)
            await insert(session, 0)
            await (await session.connection()).invalidate()
            raise ConnectionError
    assert (world.states, world.effects) == ([], [])


class TestSavepoints:
    """A row is committed if all savepoints around it are."""

    async def test_a_rolled_back_savepoint_discards_its_rows(
        self, world: World, process: Process
    ) -> None:
        async with process.database.session() as session:
            process.runner.submit(work, 1)
            savepoint = await session.begin_nested()
            process.runner.submit(work, 2)
            await savepoint.rollback()
            process.runner.submit(work, 3)
        await process.watcher.until("succeeded", 2)
        assert sorted(world.effects) == [1, 3]

    async def test_a_rolled_back_transaction_discards_a_released_savepoint(
        self, world: World, process: Process
    ) -> None:
        with pytest.raises(KeyError):  # noqa: PT012 - the end of the block raises
            async with process.database.session() as session:
                async with session.begin_nested():
                    process.runner.submit(work, 1)
                raise KeyError
        assert world.states == []

    async def test_a_rolled_back_savepoint_discards_a_released_inner_one(
        self, world: World, process: Process
    ) -> None:
        async with process.database.session() as session:
            outer = await session.begin_nested()
            async with session.begin_nested():
                process.runner.submit(work, 1)
            await outer.rollback()
            process.runner.submit(work, 2)
        await process.watcher.until("succeeded")
        assert world.effects == [2]
        assert len(world.states) == 1

    async def test_a_rolled_back_savepoint_discards_an_open_inner_one(
        self, world: World, process: Process
    ) -> None:
        async with process.database.session() as session:
            outer = await session.begin_nested()
            await session.begin_nested()
            process.runner.submit(work, 1)
            await outer.rollback()
        assert world.states == []

    async def test_released_nested_savepoints_keep_their_rows(
        self, world: World, process: Process
    ) -> None:
        session = process.database.session
        async with session() as nested, nested.begin_nested(), nested.begin_nested():
            process.runner.submit(work, 1)
        await process.watcher.until("succeeded")
        assert world.effects == [1]

    async def test_a_failed_flush_in_a_savepoint_keeps_the_rows_outside(
        self, world: World, process: Process
    ) -> None:
        world.run("CREATE TABLE things (id INTEGER PRIMARY KEY)")
        await process.submit(work, 0)
        async with process.database.session() as session:
            process.runner.submit(work, 1)
            session.add(Thing(id=7))
            await session.flush()
            session.expunge_all()
            with pytest.raises(IntegrityError):  # noqa: PT012 - the end of the block raises
                async with session.begin_nested():
                    process.runner.submit(work, 2)
                    session.add(Thing(id=7))
                    await session.flush()
        await process.watcher.until("succeeded", 2)
        assert sorted(world.effects) == [0, 1]

    async def test_a_failed_commit_in_a_savepoint_keeps_the_rows_outside(
        self, world: World, process: Process
    ) -> None:
        world.run("CREATE TABLE things (id INTEGER PRIMARY KEY)")
        world.run("INSERT INTO things VALUES (7)")
        async with process.database.session() as session:
            process.runner.submit(work, 1)
            whole, savepoint = session.get_transaction(), await session.begin_nested()
            assert whole is not None
            process.runner.submit(work, 2)
            session.add(Thing(id=7))
            with pytest.raises(IntegrityError):
                await whole.commit()
            await savepoint.rollback()
        await process.watcher.until("succeeded")
        assert world.effects == [1]

    async def test_a_savepoint_left_open_is_committed(self, world: World, process: Process) -> None:
        async with process.database.session() as session:
            process.runner.submit(work, 1)
            await session.begin_nested()
            process.runner.submit(work, 2)
            await insert(session, 0)
        await process.watcher.until("succeeded", 2)
        assert sorted(world.effects) == [0, 1, 2]

    async def test_a_savepoint_rolled_back_in_a_commit_hook_is_not_reported(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reported = []

        def ended(entry: Entry, *, committed: bool) -> None:
            if committed:
                reported.append(json.loads(entry.row["arguments"]))

        def add_and_undo(committing: Session) -> None:
            if not committing.in_nested_transaction():
                savepoint = committing.begin_nested()
                enqueue(committing, work, 1)
                savepoint.rollback()

        monkeypatch.setattr(Entry, "ended", ended)
        async with process.database.session() as session:
            event.listen(session.sync_session, "before_commit", add_and_undo)
            enqueue(session, work, 0)
        assert reported == [{"n": 0}]


async def test_a_task_submitted_during_a_flush_is_committed(world: World, process: Process) -> None:
    world.run("CREATE TABLE things (id INTEGER PRIMARY KEY)")

    def submit(*_: object) -> None:
        process.runner.submit(work, 1)

    event.listen(Thing, "before_insert", submit)
    try:
        async with process.database.session() as session:
            session.add(Thing(id=7))  # the commit flushes it
    finally:
        event.remove(Thing, "before_insert", submit)
    await process.watcher.until("succeeded")
    assert world.effects == [1]


@pytest.mark.parametrize("listens", ["session", "class"])
async def test_a_task_submitted_in_a_before_commit_hook_is_committed(
    world: World, process: Process, listens: str
) -> None:
    def submit(committing: Session) -> None:
        if committing is session.sync_session:  # and not a session of the runner
            process.runner.submit(work, 1)

    async with process.database.session() as session:
        process.runner.submit(work, 0)
        target = session.sync_session if listens == "session" else Session
        event.listen(target, "before_commit", submit)
    event.remove(target, "before_commit", submit)
    await process.watcher.until("succeeded", 2)
    assert sorted(world.effects) == [0, 1]


async def test_submitting_in_after_commit_hooks_is_refused(world: World, process: Process) -> None:
    def submit(_: Session) -> None:
        with pytest.raises(OutsideTransactionError):
            process.runner.submit(work, 1)
        refused.append(True)

    refused: list[bool] = []
    async with process.database.session() as session:
        event.listen(session.sync_session, "after_commit", submit)
    assert refused == [True]
    assert world.states == []


async def test_sessions_are_freed_after_their_blocks(process: Process) -> None:
    ended: list[ReferenceType[Session]] = []
    for n in range(400):
        async with process.database.session() as session:
            ended.append(ref(session.sync_session))
            if n % 100 == 0:
                process.runner.submit(work, n)
    gc.collect()
    # asyncio keeps the contexts of up to a hundred cancelled timers.
    assert sum(reference() is not None for reference in ended) < 200


class TestWithoutATransaction:
    """Nothing would commit the row, so that submitting is an error and no silent loss."""

    async def test_submitting_outside_a_session_is_refused(self, process: Process) -> None:
        with pytest.raises(OutsideTransactionError, match="outside a session"):
            process.runner.submit(work, 1)

    async def test_submitting_in_a_read_only_session_is_refused(self, process: Process) -> None:
        async with process.database.session(read_only=True):
            with pytest.raises(OutsideTransactionError):
                process.runner.submit(work, 1)

    @pytest.mark.parametrize("end", ["commit", "rollback"])
    async def test_submitting_after_the_transaction_is_refused(
        self, process: Process, end: str
    ) -> None:
        async with process.database.session() as session:
            await getattr(session, end)()
            with pytest.raises(OutsideTransactionError):
                process.runner.submit(work, 1)

    async def test_submitting_after_the_block_is_refused(self, process: Process) -> None:
        go_on = asyncio.Event()

        async def submit_late() -> str:
            await go_on.wait()
            return process.runner.submit(work, 1)

        async with process.database.session():
            late = asyncio.create_task(submit_late())
        go_on.set()
        with pytest.raises(OutsideTransactionError):
            await late


async def test_a_read_only_session_leaves_the_row_to_the_session_around_it(
    world: World, process: Process
) -> None:
    async with process.database.session():
        async with process.database.session(read_only=True):
            process.runner.submit(work, 1)
        assert world.states == []
    await process.watcher.until("succeeded")


async def test_the_row_belongs_to_the_innermost_session(
    world: World, process: Process, database_url: str
) -> None:
    other = World(database_url)
    async with Database(other.settings) as elsewhere, elsewhere.session():
        async with process.database.session():
            process.runner.submit(work, 1)
        assert len(world.states) == 1
    assert other.states == []


async def test_concurrent_sessions_keep_their_tasks_apart(world: World, process: Process) -> None:
    async def submit(n: int) -> None:
        async with process.database.session():
            process.runner.submit(work, n)
            await asyncio.sleep(0)  # let the other sessions run in between
            if n % 2:
                raise KeyError(n)

    await asyncio.gather(*(submit(n) for n in range(20)), return_exceptions=True)
    await process.watcher.until("succeeded", 10)
    assert sorted(world.effects) == list(range(0, 20, 2))
