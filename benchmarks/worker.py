"""The time from the commit of a durable task to its start in another process."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from functools import partial

from app.db import Database, Pool, task_session
from app.tasks import TaskRunner, TaskSettings, task
from durable import databases
from durable_engines import database
from table import Table, main, progress

ROUNDS = 3
PAUSE = 0.02
"""Seconds between two tasks, so that neither process is busy."""
READY = "ready"


@task(durable=True)
async def say_when(number: int) -> None:
    """Print the time of the start for the process that measures."""
    print(number, time.time(), flush=True)


def runner_on(opened: Database, claim: str) -> TaskRunner:
    """Return the runner of one of the two processes."""
    return TaskRunner(
        TaskSettings(claim=claim),
        tasks=[say_when],
        sessions=partial(opened.session, Pool.TASK_STORE),
        wake_ups=opened.wake_ups,
    )


async def work(url: str) -> None:
    """Run a worker until the process that measures closes its input."""
    async with database(url) as opened, runner_on(opened, "all"):
        print(READY, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def submit(url: str, count: int) -> dict[int, float]:
    """Commit tasks without running any; return the time of each commit."""
    committed: dict[int, float] = {}
    async with database(url) as opened, runner_on(opened, "none") as runner:
        for number in range(count):
            async with task_session():
                runner.submit(say_when, number)
            committed[number] = time.time()
            await asyncio.sleep(PAUSE)
    return committed


def measure(quick: bool) -> Table:
    """Measure with a worker that has nothing else to do."""
    count = 200 if quick else 1000
    table = Table(
        "A worker on PostgreSQL, apart from the service",
        f"One process commits {count:,} durable tasks, one every {PAUSE * 1000:.0f} ms, and runs "
        "none; NOTIFY wakes another, which runs them. From the commit to the start, all rounds.",
    )
    delays: list[float] = []
    with databases() as make:
        for number in range(ROUNDS):
            delays += _measure(make(f"apart_{number}"), count)
            progress(f"round {number + 1}: median {statistics.median(delays) * 1000:.1f} ms")
    table.note("from commit to start, median", statistics.median(delays) * 1000, "ms")
    p99 = statistics.quantiles(delays, n=100)[98] * 1000
    table.at_most("from commit to start, p99", p99, 50, "ms")
    return table


def _measure(url: str, count: int) -> list[float]:
    command = [sys.executable, __file__, READY, url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, encoding="utf-8", stdin=pipe, stdout=pipe) as worker:
        stdin, stdout = worker.stdin, worker.stdout
        if stdin is None or stdout is None or stdout.readline().strip() != READY:
            raise RuntimeError("the worker did not start")
        committed = asyncio.run(submit(url, count))
        started = dict(stdout.readline().split() for _ in range(count))
        stdin.close()
    return [float(started[str(number)]) - at for number, at in committed.items()]


if __name__ == "__main__":
    if sys.argv[1:2] == [READY]:
        asyncio.run(work(sys.argv[2]))
    else:
        main(measure)
