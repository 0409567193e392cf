"""Durable tasks on SQLite: from the transaction that adds one to its written end."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from app.db import Database, DatabaseSettings, Pool, current_database, task_session
from app.db.migrate import migrate
from app.tasks import TaskRunner, TaskSettings, task
from sqlalchemy import Column, Integer, MetaData, Text, insert
from sqlalchemy import Table as DatabaseTable
from table import Table, main, median, median_ratio, progress

ROUNDS = 7
QUICK_ROUNDS = 5
PRODUCERS = 20

metadata = MetaData()
plain = DatabaseTable(
    "benchmark_rows",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text),
    Column("arguments", Text),
)


ran: set[int] = set()


@task(durable=True)
async def nothing(number: int) -> None:
    """Do nothing but say so: what is left is the engine and its table."""
    ran.add(number)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[TaskRunner]:
    """Give a runner with a fresh database, migrated as in development."""
    settings = DatabaseSettings(url=f"sqlite:///{folder / 'benchmark.db'}")
    migrate(settings)
    async with Database(settings) as database:
        current_database.set(database)
        async with database.session() as session:
            await session.run_sync(lambda sync: metadata.create_all(sync.connection()))
        runner = TaskRunner(
            TaskSettings(queue_size=100_000),
            tasks=[nothing],
            sessions=partial(database.session, Pool.TASK_STORE),
        )
        async with runner:
            yield runner


def measure(quick: bool) -> Table:
    """Measure tasks and plain inserts in turn."""
    count = 400 if quick else 2000
    table = Table(
        "Durable tasks on SQLite",
        f"{count:,} transactions by {PRODUCERS} producers at once; each inserts one row, or adds "
        "one durable task, which is then claimed, run and written down as done.",
    )
    with tempfile.TemporaryDirectory() as folder:
        cycles, inserts = asyncio.run(_measure(Path(folder), count, quick=quick))
    rate = median([count / took for took in cycles])
    table.note("plain insert and commit", median([count / took for took in inserts]), "rows/s")
    table.at_least("enqueue, commit, run, settle", rate, 300, "tasks/s")
    table.note("time of a durable task : a plain insert", median_ratio(cycles, inserts), "")
    return table


async def _measure(folder: Path, count: int, *, quick: bool) -> tuple[list[float], list[float]]:
    cycles: list[float] = []
    inserts: list[float] = []
    async with running(folder) as runner:
        for _ in range(QUICK_ROUNDS if quick else ROUNDS):
            inserts.append(await _timed(_insert, count))
            ran.clear()
            cycles.append(await _timed(partial(_enqueue, runner), count, until=runner.join))
            if len(ran) != count:  # or the clock was stopped too early
                raise RuntimeError(f"only {len(ran)} of {count} tasks have run")
            progress(f"{count / inserts[-1]:.0f} inserts/s, {count / cycles[-1]:.0f} tasks/s")
    return cycles, inserts


async def _insert(number: int) -> None:
    async with task_session() as session:
        await session.execute(insert(plain).values(name="nothing", arguments=str(number)))


async def _enqueue(runner: TaskRunner, number: int) -> None:
    async with task_session():
        runner.submit(nothing, number)


async def _timed(
    act: Callable[[int], Awaitable[None]],
    count: int,
    until: Callable[[], Awaitable[None]] | None = None,
) -> float:
    numbers = iter(range(count))

    async def produce() -> None:
        for number in numbers:
            await act(number)

    began = time.perf_counter()
    await asyncio.gather(*(produce() for _ in range(PRODUCERS)))
    if until is not None:
        await until()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(measure)
