"""The task engine beside its peers, in one process: the cost of a task that does nothing."""

# Peers are installed where they are measured, and not where types are checked.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import gc
import logging
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiojobs
import taskiq
from app.features.metrics.tasks import TaskMetrics
from app.tasks import TaskRunner, TaskSettings, task
from app.tasks.dependency import RequestTasks
from prometheus_client import CollectorRegistry
from starlette.background import BackgroundTasks
from table import Table, main, median, median_ratio, progress

ROUNDS = 7
QUICK_ROUNDS = 5
CONCURRENCY = 20
UNLIMITED = 10_000_000
BYTES_SAMPLE = 20_000
ENQUEUE_SAMPLE = 10_000

Times = tuple[float, float]
"""Processor seconds to submit all tasks, and until all have run."""


async def nothing(number: int) -> None:
    """Do nothing, so that only the engine is measured."""


ours = task(timeout=60, max_concurrency=CONCURRENCY)(nothing)
broker = taskiq.InMemoryBroker()
taskiq_task = broker.task(nothing)


@asynccontextmanager
async def running() -> AsyncIterator[TaskRunner]:
    """Yield a runner with everything on: context, timeout, limits, metrics."""
    settings = TaskSettings(
        max_concurrency=CONCURRENCY, queue_size=UNLIMITED, drain_timeout=0, aging=10
    )
    async with TaskRunner(settings, [TaskMetrics(CollectorRegistry())]) as runner:
        yield runner


async def run_ours(count: int) -> Times:
    """Submit to the service's runner."""
    async with running() as runner:
        began = time.process_time()
        for number in range(count):
            runner.submit(ours, number)
        submitted = time.process_time()
        await runner.join()
        return submitted - began, time.process_time() - began


async def run_ours_bare(count: int) -> Times:
    """Submit an undecorated function, without metrics: limits, context and priorities only."""
    settings = TaskSettings(max_concurrency=CONCURRENCY, queue_size=UNLIMITED)
    async with TaskRunner(settings) as runner:
        began = time.process_time()
        for number in range(count):
            runner.submit(nothing, number)
        submitted = time.process_time()
        await runner.join()
        return submitted - began, time.process_time() - began


async def run_aiojobs(count: int) -> Times:
    """Spawn on an aiojobs scheduler with the same limit, and no other feature."""
    scheduler = aiojobs.Scheduler(limit=CONCURRENCY, pending_limit=0)
    began = time.process_time()
    for number in range(count):
        await scheduler.spawn(nothing(number))
    submitted = time.process_time()
    while len(scheduler):  # its own wait_and_close() makes a task for each job, which costs more
        await asyncio.sleep(0)
    took = time.process_time() - began
    await scheduler.close()
    return submitted - began, took


async def run_taskiq(count: int) -> Times:
    """Kick on taskiq's in-memory broker."""
    began = time.process_time()
    for number in range(count):
        await taskiq_task.kiq(number)
    submitted = time.process_time()
    await broker.wait_all()
    return submitted - began, time.process_time() - began


async def run_create_task(count: int) -> Times:
    """Start all at once, as asyncio itself would."""
    began = time.process_time()
    tasks = {asyncio.create_task(nothing(number)) for number in range(count)}
    submitted = time.process_time()
    while tasks:
        await asyncio.sleep(0)
        tasks = {each for each in tasks if not each.done()}
    return submitted - began, time.process_time() - began


async def run_starlette(count: int) -> Times:
    """Run one after the other, as the background tasks of one request."""
    tasks = BackgroundTasks()
    began = time.process_time()
    for number in range(count):
        tasks.add_task(nothing, number)
    submitted = time.process_time()
    await tasks()
    return submitted - began, time.process_time() - began


OURS, BARE, AIOJOBS, TASKIQ = "app.tasks, all on", "app.tasks, plain", "aiojobs", "taskiq"
ENGINES: dict[str, Callable[[int], Awaitable[Times]]] = {
    AIOJOBS: run_aiojobs,
    OURS: run_ours,
    BARE: run_ours_bare,
    TASKIQ: run_taskiq,
    "asyncio.create_task": run_create_task,
    "Starlette BackgroundTasks": run_starlette,
}


def measure(quick: bool) -> Table:
    """Measure all engines in turn, round by round."""
    count, many = (10_000, 300_000) if quick else (50_000, 1_000_000)
    table = Table(
        "Task engines in one process",
        f"{count:,} tasks that do nothing, submitted at once, engines in turn, in processor time, "
        "since no task waits for anything. At most "
        f"{CONCURRENCY} at a time (asyncio and taskiq: no limit; Starlette: one after the other). "
        '"All on" is context, timeout, priorities, limits, checked arguments and Prometheus '
        'metrics; aiojobs has the limit only. "Plain" is an undecorated function without metrics.',
    )
    logging.disable()  # at its end the runner logs the tasks that it drops, here a million
    empty, full = asyncio.run(_measure_growth(many))  # first, since later runs reuse memory
    progress(f"{many:,} tasks queued")
    times: dict[str, list[Times]] = {name: [] for name in ENGINES}
    for number in range(QUICK_ROUNDS if quick else ROUNDS):
        for name, run in ENGINES.items():
            times[name].append(_timed(run, count))
        progress(f"round {number + 1}")
    for name, runs in times.items():
        table.note(f"{name}: rate", median([count / total for _, total in runs]), "tasks/s")
        submit = median([submitted / count * 1e6 for submitted, _ in runs])
        table.note(f"{name}: submit, all at once", submit, "µs")
    totals = {name: [total for _, total in runs] for name, runs in times.items()}
    for peer, bound in ((AIOJOBS, 0.5), (TASKIQ, 3.0)):
        ratio = median_ratio(totals[peer], totals[OURS])
        table.at_least(f"rate, {OURS} : {peer}", ratio, bound, "")
    table.note(f"rate, {BARE} : aiojobs", median_ratio(totals[AIOJOBS], totals[BARE]), "")
    asyncio.run(_measure_adding(table, quick=quick))
    asyncio.run(_measure_bytes(table))
    table.note(f"submit, the first {20 * ENQUEUE_SAMPLE:,} in the queue", empty, "µs")
    table.note(f"submit, the last of {many:,}", full, "µs")
    table.at_most(f"submit, with {many:,} queued : with few", full / empty, 1.25, "")
    return table


def _timed(run: Callable[[int], Awaitable[Times]], count: int) -> Times:
    async def timed() -> Times:
        return await run(count)

    gc.collect()
    return asyncio.run(timed())


async def _measure_adding(table: Table, *, quick: bool) -> None:
    """Measure adding tasks in bursts of 500, which is half of the default queue size."""
    added: list[float] = []
    submitted: list[float] = []
    async with running() as runner:
        for _ in range(50 if quick else 200):
            requested = RequestTasks(runner)
            began = time.process_time()
            for number in range(500):
                requested.add_task(ours, number)
            added.append((time.process_time() - began) / 500 * 1e6)
            requested.end(succeeded=True)
            await runner.join()
            began = time.process_time()
            for number in range(500):
                runner.submit(ours, number)
            submitted.append((time.process_time() - began) / 500 * 1e6)
            await runner.join()
    table.at_most("`tasks.add_task`, in bursts of 500", median(added), 5, "µs")
    table.at_most("`runner.submit`, in bursts of 500", median(submitted), 5, "µs")


async def _measure_bytes(table: Table) -> None:
    async with running() as runner:
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        _submit(runner, BYTES_SAMPLE)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        table.at_most("memory of a queued task", (after - before) / BYTES_SAMPLE, 700, "bytes")
        await runner.join()


async def _measure_growth(many: int) -> tuple[float, float]:
    """Return the µs of a submission to an empty queue, and to one with `many` tasks."""
    async with running() as runner:
        samples = [_submit(runner, ENQUEUE_SAMPLE) for _ in range(many // ENQUEUE_SAMPLE)]
    return median(samples[:20]), median(samples[-20:])


def _submit(runner: TaskRunner, count: int) -> float:
    """Submit `count` tasks; return the µs of one submission."""
    began = time.process_time()
    for number in range(count):
        runner.submit(ours, number)
    return (time.process_time() - began) / count * 1e6


if __name__ == "__main__":
    main(measure)
