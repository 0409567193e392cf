"""What the page shows: everything the runner can tell, and what it cannot.

An engine whose tasks run in other processes cannot tell of their runs, and the page says so; the
table of durable tasks is the same for every engine.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any, NamedTuple

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.tasks import Task, TaskRunner, TaskState, TaskStore

from .chart import ended_chart, queue_chart
from .recorder import Recorder, Run
from .samples import SPAN, Samples
from .text import NOTHING, ago, cut, percentiles, rate, seconds

logger = structlog.get_logger(__name__)

_RUNNING, _WAITING, _DURABLE, _TASKS = 25, 10, 10, 50
"""Rows of each table."""
_THROUGHPUT = 60.0
_DATABASE_TIMEOUT = 2.0
_RETRYABLE = (TaskState.FAILED, TaskState.TIMED_OUT, TaskState.CANCELLED, TaskState.DEAD)
_PERIODS = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}


class Figure(NamedTuple):
    """A number with its name and a remark."""

    label: str
    value: str
    remark: str
    is_bad: bool = False


class TaskRow(NamedTuple):
    """A task: its limits, and how its latest runs went."""

    name: str
    kept: str
    limits: str
    timeout: float
    attempts: int
    runs: int
    failed: int
    wait: str
    """Median and 95th percentile, as is `duration`."""
    duration: str


async def make_view(runner: TaskRunner, recorder: Recorder, samples: Samples) -> dict[str, Any]:
    """Return the variables of the templates."""
    durable = await _read_durable(runner.store)
    snapshot = runner.snapshot(_RUNNING)
    running = [task for task in snapshot.tasks if task.state is TaskState.RUNNING]
    waiting = [task for task in snapshot.tasks if task.state is TaskState.QUEUED][:_WAITING]
    now = monotonic()
    latest = samples.since(now - SPAN)
    runs = list(recorder.runs(SPAN))
    return {
        "figures": [
            Figure("Waiting", f"{snapshot.queued:,}", f"room for {runner.settings.queue_size:,}"),
            Figure("Running", f"{snapshot.running:,}", f"of {runner.settings.max_concurrency:,}"),
            *_figures(runs, samples.throughput(_THROUGHPUT)),
        ],
        "queue": queue_chart(latest, now),
        "ended": ended_chart(latest, now),
        "runs_known": not snapshot.runs_elsewhere,
        "running": running,
        "more_running": snapshot.running - len(running),
        "waiting": waiting,
        "more_waiting": snapshot.queued - len(waiting),
        "failures": recorder.failures(),
        "durable": durable,
        "tasks": list(_task_rows(runner, runs)),
        "ago": ago,
        "cut": cut,
        "seconds": seconds,
    }


def _figures(runs: Sequence[Run], throughput: float | None) -> Iterator[Figure]:
    failed = sum(not run.succeeded for run in runs)
    yield Figure("Ended", NOTHING if throughput is None else rate(throughput), "in the last minute")
    yield Figure("Failed runs", f"{failed:,}", f"of the latest {len(runs):,}", is_bad=failed > 0)
    times = {"Wait": [run.wait for run in runs], "Run time": [run.duration for run in runs]}
    for label, values in times.items():
        p50, p95, p99 = percentiles(values, 50, 95, 99)
        yield Figure(label, p50, f"median · 95 %: {p95} · 99 %: {p99}")


async def _read_durable(store: TaskStore) -> dict[str, Any]:
    """Read the table. A database that fails must not take the rest of the page along."""
    try:
        async with asyncio.timeout(_DATABASE_TIMEOUT):
            counts = await store.counts()
            unfinished = await store.unfinished(_DURABLE)
            unsuccessful = await store.recent(_RETRYABLE, _DURABLE)
    except (SQLAlchemyError, TimeoutError):
        logger.warning("the task page could not read the table of durable tasks", exc_info=True)
        return {"counts": None, "unfinished": (), "unsuccessful": ()}
    return {
        # In the order of a task's life, and then what only another release knows.
        "counts": {state: counts[state] for state in (*TaskState, *counts) if state in counts},
        "counted": store.COUNTED,
        "unfinished": unfinished,
        "unsuccessful": unsuccessful,
    }


def _task_rows(runner: TaskRunner, runs: Sequence[Run]) -> Iterator[TaskRow]:
    """List what the runner knows by name, and whatever else has run."""
    by_name: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_name[run.name].append(run)
    known = {task.name: task for task in runner.tasks}
    for name in sorted({*known, *by_name}, key=str.casefold)[:_TASKS]:
        yield _task_row(name, known.get(name), by_name[name], runner.settings.default_timeout)


def _task_row(
    name: str, task: Task[Any, Any] | None, runs: Sequence[Run], timeout: float
) -> TaskRow:
    return TaskRow(
        name=name,
        kept="durable" if task and task.durable else "in memory",
        limits=_limits(task),
        timeout=timeout if task is None or task.timeout is None else task.timeout,
        attempts=task.retry.attempts if task and task.retry else 1,
        runs=len(runs),
        failed=sum(not run.succeeded for run in runs),
        wait=_median_and_95([run.wait for run in runs]),
        duration=_median_and_95([run.duration for run in runs]),
    )


def _limits(task: Task[Any, Any] | None) -> str:
    limits = []
    if task and task.max_concurrency is not None:
        limits.append(f"{task.max_concurrency} at once")
    if task and task.rate is not None:
        limits.append(f"{task.rate.count:,} a {_PERIODS[task.rate.period]}")
    return ", ".join(limits) or NOTHING


def _median_and_95(values: Sequence[float]) -> str:
    return " / ".join(percentiles(values, 50, 95)) if values else NOTHING
