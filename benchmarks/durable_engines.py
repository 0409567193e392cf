"""Runs durable tasks of one engine in a process of its own, and prints the seconds that they took.

`durable_engines.py ENGINE URL COUNT`: 20 producers make COUNT transactions. The time is over when
the last task has run and is recorded as done; runs and records in the engine's table are counted.
"""

# Peers are installed where they are measured, and not where types are checked.
# mypy: disable-error-code="import-not-found, untyped-decorator"

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from app.db import Database, DatabaseSettings, Pool, current_database, task_session
from app.tasks import TaskRunner, TaskSettings, task
from sqlalchemy import Column, Integer, MetaData, Text, create_engine, insert, text
from sqlalchemy import Table as DatabaseTable

PRODUCERS = 20
CONCURRENCY = 20
WARM_UP = 40
SECONDS = 300.0
"""The longest time for a run; an engine that needs more is stuck."""

Add = Callable[[int], Awaitable[Any]]
Ended = Callable[[], Awaitable[int]]
"""Returns how many tasks are done according to the engine's own table."""

ran: list[int] = []
plain = DatabaseTable(
    "benchmark_rows",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", Text),
    Column("arguments", Text),
)


@task(durable=True)
async def nothing(number: int) -> None:
    """Only record the run, so that the engine and its table are measured."""
    ran.append(number)


@asynccontextmanager
async def database(url: str) -> AsyncIterator[Database]:
    """Yield the service's database, as its tasks use it."""
    async with Database(DatabaseSettings(url=url)) as opened:
        current_database.set(opened)
        yield opened


@asynccontextmanager
async def inserts(url: str) -> AsyncIterator[tuple[Add, Ended]]:
    """Insert a row in a transaction of its own, which is the least that a durable task costs."""
    async with database(url) as opened:
        async with opened.session() as session:
            await session.run_sync(lambda sync: plain.metadata.create_all(sync.connection()))

        async def add(number: int) -> None:
            async with task_session() as session:
                await session.execute(insert(plain).values(name="nothing", arguments=str(number)))
            ran.append(number)

        yield add, counting(url, "SELECT count(*) FROM benchmark_rows")


@asynccontextmanager
async def ours(url: str, *, at_once: bool = False) -> AsyncIterator[tuple[Add, Ended]]:
    """Add a durable task in a transaction; with `at_once`, add as many as `add` is given."""
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(database(url))
        runner = TaskRunner(
            TaskSettings(queue_size=100_000, max_concurrency=CONCURRENCY),
            tasks=[nothing],
            sessions=partial(opened.session, Pool.TASK_STORE),
            wake_ups=opened.wake_ups,
        )
        await stack.enter_async_context(runner)

        async def add(number: int) -> None:
            async with task_session():
                for argument in range(number) if at_once else [number]:
                    runner.submit(nothing, argument)

        yield add, counting(url, "SELECT count(*) FROM background_tasks WHERE state = 'succeeded'")


@asynccontextmanager
async def procrastinate(url: str) -> AsyncIterator[tuple[Add, Ended]]:
    """Defer a job of procrastinate, with its own pool of connections."""
    from procrastinate import App, PsycopgConnector  # noqa: PLC0415 - only where it is measured

    app = App(connector=PsycopgConnector(conninfo=libpq(url), min_size=4, max_size=CONCURRENCY))

    @app.task(name="nothing")
    async def job(number: int) -> None:
        ran.append(number)

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False)
        )
        yield (
            lambda number: job.defer_async(number=number),
            counting(url, "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"),
        )
        await cancel(worker)


@asynccontextmanager
async def pgqueuer(url: str) -> AsyncIterator[tuple[Add, Ended]]:
    """Enqueue a job of pgqueuer through asyncpg; its queue does not keep jobs that are done."""
    import asyncpg  # noqa: PLC0415 - as above
    from pgqueuer import PgQueuer  # noqa: PLC0415 - as above
    from pgqueuer.queries import Queries  # noqa: PLC0415 - as above

    async with asyncpg.create_pool(libpq(url), max_size=CONCURRENCY) as pool:
        queries = Queries.from_asyncpg_pool(pool)
        await queries.install()
        queue = PgQueuer.from_asyncpg_pool(pool)

        @queue.entrypoint("nothing")
        async def job(queued: Any) -> None:
            ran.append(int(queued.payload))

        worker = asyncio.create_task(queue.run(batch_size=CONCURRENCY))
        done = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"
        yield (
            lambda number: queries.enqueue("nothing", str(number).encode()),
            counting(url, done),
        )
        queue.shutdown.set()
        await cancel(worker)


@asynccontextmanager
async def dbos(url: str, *, queued: bool = False) -> AsyncIterator[tuple[Add, Ended]]:
    """Start a workflow of DBOS, at once or through its queue."""
    from dbos import DBOS, DBOSConfig  # noqa: PLC0415 - as above

    DBOS(
        config=DBOSConfig(
            name="benchmark",
            system_database_url=url.replace("+psycopg", ""),
            run_admin_server=False,
            log_level="ERROR",
        )
    )

    @DBOS.workflow(name="nothing")
    async def workflow(number: int) -> None:
        ran.append(number)

    DBOS.launch()
    if queued:
        await DBOS.register_queue_async("benchmark", worker_concurrency=CONCURRENCY)
        add: Add = partial(DBOS.enqueue_workflow_async, "benchmark", workflow)
    else:
        add = partial(DBOS.start_workflow_async, workflow)
    table = "workflow_status" if url.startswith("sqlite") else "dbos.workflow_status"
    done = "SELECT count(*) FROM " + table + " WHERE status = 'SUCCESS'"  # noqa: S608 - fixed names
    yield add, counting(url, done)
    DBOS.destroy()


ENGINES: dict[str, Callable[[str], AbstractAsyncContextManager[tuple[Add, Ended]]]] = {
    "inserts": inserts,
    "ours": ours,
    "ours_at_once": partial(ours, at_once=True),
    "procrastinate": procrastinate,
    "pgqueuer": pgqueuer,
    "dbos": dbos,
    "dbos_queue": partial(dbos, queued=True),
}


def libpq(url: str) -> str:
    """Return the URL in the form that PostgreSQL's own library reads."""
    return url.replace("+psycopg", "")


def counting(url: str, query: str) -> Ended:
    """Return a function that counts rows on a connection of its own."""
    engine = create_engine(DatabaseSettings(url=url).sync_url)

    def count() -> int:
        with engine.connect() as connection:
            return int(connection.execute(text(query)).scalar_one())

    return partial(asyncio.to_thread, count)


async def cancel(worker: asyncio.Task[Any]) -> None:
    """Stop a worker, which would run forever."""
    worker.cancel()
    await asyncio.wait([worker], timeout=10)


async def measure(name: str, url: str, count: int) -> float:
    """Return the seconds from the first transaction to the record of the last task's end."""
    async with ENGINES[name](url) as (add, ended):
        before = await run(name, add, ended, WARM_UP, await ended())
        began = time.perf_counter()
        await run(name, add, ended, count, before)
        return time.perf_counter() - began


async def run(name: str, add: Add, ended: Ended, count: int, before: int) -> int:
    """Add tasks, and wait until all have run and are done; return how many are done by now."""
    ran.clear()
    deadline = time.monotonic() + SECONDS
    if name == "ours_at_once":
        await add(count)
    else:
        numbers = iter(range(count))
        await asyncio.gather(*(produce(add, numbers) for _ in range(PRODUCERS)))
    while len(ran) < count or await ended() < before + count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name}: only {len(ran)} of {count} tasks have run")
        await asyncio.sleep(0.002)
    return before + count


async def produce(add: Add, numbers: Any) -> None:
    """Add one task after the other."""
    for number in numbers:
        await add(number)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(asyncio.run(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
