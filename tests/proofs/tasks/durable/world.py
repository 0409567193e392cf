"""A database, and the processes that share it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Column, Integer, MetaData, NullPool, Table, Text, create_engine, text

from app.db import Database, DatabaseSettings, Pool, current_database, task_session
from app.tasks import (
    Propagator,
    Task,
    TaskObserver,
    TaskRecord,
    TaskRunner,
    TaskSettings,
    TaskStore,
    current_task,
)
from app.tasks.context import NO_PROPAGATION
from app.tasks.durable import metadata
from app.tasks.durable.steps import step_sessions
from tests.databases.server import run
from tests.tasks.watcher import Watcher

LEASE = 1.0
"""Seconds; a test can wait for its end, and a renewal on a busy machine still comes in time."""
LONG = 60.0
"""Seconds of a lease that never ends during a test, however busy the machine: for proofs that
several processes run each task once."""
RARE_POLLS: dict[str, Any] = {"lease": 240.0, "sweep_interval": 60.0, "max_concurrency": 1}
"""Polls are a minute apart, so that a task that starts sooner was started by a wake-up."""


@dataclass(frozen=True)
class Process:
    """Stands for a process: a runner with its own database connections and its own leases."""

    database: Database
    runner: TaskRunner
    watcher: Watcher

    @property
    def store(self) -> TaskStore:
        return self.runner.store

    @property
    def reserved(self) -> int:
        """Return the number of jobs for which capacity is reserved."""
        return self.runner._capacity.reserved

    async def submit(self, func: Any, *args: Any, **options: Any) -> str:
        """Submit in a new transaction, and commit."""
        async with self.database.session():
            return self.runner.options(**options).submit(func, *args)

    async def record(self, task_id: str) -> TaskRecord:
        record = await self.store.get(task_id)
        assert record is not None
        return record

    async def assert_everything_is_released(self) -> None:
        """Join, then check that no capacity, slot or lease is held."""
        await self.runner.join(10)
        assert self.reserved == 0
        assert self.runner._dispatcher is not None
        assert self.runner._dispatcher.free_slots == self.runner.settings.max_concurrency
        assert self.runner._durable is not None
        assert self.runner._durable.recorder.held == {}


_effects = Table(  # `n` is not unique, so that a task that runs twice leaves two rows
    "effects",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("n", Integer, nullable=False),
    Column("task_id", Text),
)


class World:
    """The database, and the way to start processes on it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.settings = DatabaseSettings(url=url)

    def create(self) -> None:
        """Create the tables of tasks, and one for their effects."""
        engine = create_engine(self.settings.sync_url, poolclass=NullPool)
        for tables in (metadata, _effects.metadata):
            tables.create_all(engine)

    def run(self, statement: str, **values: Any) -> list[Any]:
        """Run a statement without the code under test; return the first column."""
        return [row[0] for row in run(self.url, statement, **values)]

    @property
    def effects(self) -> list[int]:
        """Return what tasks have committed, in order."""
        return self.run("SELECT n FROM effects ORDER BY id")

    @property
    def states(self) -> list[str]:
        """Return the states of all rows, oldest first."""
        return self.run("SELECT state FROM background_tasks ORDER BY created_at")

    async def set(self, task_id: str, **values: Any) -> None:
        """Change a row without the code under test."""
        for name, value in values.items():
            statement = f"UPDATE background_tasks SET {name} = :value WHERE id = :id"  # noqa: S608 - fixed names
            await asyncio.to_thread(self.run, statement, value=value, id=task_id)

    async def insert(self, task_id: str, name: str, **values: Any) -> str:
        """Add a row, as another process would."""
        row = {
            "id": task_id,
            "name": name,
            "arguments": "{}",
            "context": "{}",
            "priority": 5,
            "state": "queued",
            "attempts": 0,
            "created_at": time.time(),
            "due_at": time.time(),
            "lease_until": 0.0,
            **values,
        }
        row.setdefault("position", row["due_at"] + row["priority"] * 10)
        row.setdefault("limit_group", name)
        columns, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
        statement = f"INSERT INTO background_tasks ({columns}) VALUES ({marks})"  # noqa: S608 - fixed names
        # In a thread, because the holder of a lock may need the event loop to release it.
        await asyncio.to_thread(self.run, statement, **row)
        return task_id

    def fill(self, name: str, rows: int, **values: Any) -> None:
        """Add rows `row-0`, `row-1` and so on of a task that gets their number as `n`."""
        values = {"state": "queued", "attempts": 0, "created_at": 0.0, "due_at": 0.0, **values}
        values |= {"name": name, "limit_group": name, "context": "{}", "priority": 5}
        values |= {"position": 50.0, "lease_until": 0.0}
        columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        numbers = "SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :rows"
        row = f"'row-' || i, '{{\"n\": ' || i || '}}', {marks}"
        into = f"INSERT INTO background_tasks (id, arguments, {columns}) SELECT {row} FROM n"  # noqa: S608 - fixed names
        self.run(f"WITH RECURSIVE n (i) AS ({numbers}) {into}", rows=rows, **values)

    @asynccontextmanager
    async def process(
        self,
        *tasks: Task[..., Any],
        propagator: Propagator = NO_PROPAGATION,
        watcher: Watcher | None = None,
        observers: Sequence[TaskObserver] = (),
        **settings: Any,
    ) -> AsyncIterator[Process]:
        """Run a process that knows `tasks`; it is shut down at the end of the block."""
        settings = {"lease": LEASE, "sweep_interval": 0.05, "drain_timeout": 5.0, **settings}
        watcher = watcher or Watcher()
        async with Database(self.settings) as database:
            current_database.set(database)
            async with TaskRunner(
                TaskSettings(**settings),
                [watcher, *observers],
                tasks=tasks,
                sessions=partial(database.session, Pool.TASK_STORE),
                propagator=propagator,
                provided={step_sessions: partial(database.session, Pool.TASKS)},
                wake_ups=database.wake_ups,
            ) as runner:
                yield Process(database, runner, watcher)


_INSERT = text("INSERT INTO effects (n, task_id) VALUES (:n, :task_id)")


async def leave_effect(n: int) -> None:
    """Record in the database that a task has run."""
    info = current_task()
    values = {"n": n, "task_id": info.id if info else None}
    async with task_session() as session:
        await session.execute(_INSERT, values)
