"""What the page shows: everything the runner can tell; the templates word it.

An engine whose tasks run in other processes cannot tell of their runs, and the page says so; the
table of durable tasks is the same for every engine.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from time import time
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.logs import request_id_of
from app.tasks import (
    UNSUCCESSFUL,
    Task,
    TaskRecord,
    TaskRunner,
    TaskState,
    TaskStore,
    describe_arguments,
)

from .activity import INTERVAL, RecentActivity, Run
from .chart import ended_chart, queue_chart
from .text import ago, percentiles, seconds

logger = structlog.get_logger(__name__)

_RUNNING, _WAITING, _FAILURES, _DURABLE, _TASKS, _LISTED = 25, 10, 10, 10, 50, 50
"""Rows of each table."""
_DATABASE_TIMEOUT = INTERVAL
_MINUTE = round(60 / INTERVAL)
"""Snapshots in a minute."""


async def make_view(runner: TaskRunner, activity: RecentActivity) -> dict[str, Any]:
    """Return the variables of the templates."""
    durable = await _read_durable(runner.store)
    snapshot = runner.snapshot(_RUNNING)
    snapshots = activity.until(snapshot)
    before = snapshots[-_MINUTE:][0]
    runs = activity.runs()
    return {
        "now": time(),
        "runs_known": not snapshot.runs_elsewhere,
        "snapshot": snapshot,
        "settings": runner.settings,
        "ended_lately": snapshot.succeeded + snapshot.failed - before.succeeded - before.failed,
        "later": sum(snapshot.delayed.values()),
        "runs": runs,
        "queue": queue_chart(snapshots),
        "ended": ended_chart(snapshots),
        "running": [task for task in snapshot.tasks if task.state is TaskState.RUNNING],
        "waiting": [task for task in snapshot.tasks if task.state is TaskState.QUEUED][:_WAITING],
        "failures": _failures(activity),
        "durable": durable,
        "tasks": _tasks(runner, runs),
        "paused": {one.name for one in runner.types() if one.paused},
        "ago": ago,
        "seconds": seconds,
        "percentiles": percentiles,
    }


async def make_list(
    runner: TaskRunner, state: TaskState | None, name: str | None, before: str | None
) -> dict[str, Any]:
    """Return the variables of the list of durable tasks; raises what `TaskStore.page` raises."""
    tasks, following = await runner.store.page(state, name, before, _LISTED)
    retryable = 0
    if state in UNSUCCESSFUL:
        retryable = await runner.store.count(state, name)
    return {
        "tasks": tasks,
        "state": state,
        "name": name,
        "following": following,
        "states": [*TaskState],
        "names": sorted({task.name for task in runner.tasks if task.durable} | {name or ""}),
        "retryable": retryable,
        "counted": runner.store.COUNTED,
        "ago": ago,
    }


async def make_task(runner: TaskRunner, activity: RecentActivity, task_id: str) -> dict[str, Any]:
    """Return the variables of the page of one task."""
    task = await runner.describe(task_id) or activity.find(task_id)
    return {
        "task": task,
        "arguments": describe_arguments(task.arguments) if task else None,
        "request_id": request_id_of(task.context) if task else None,
        "retryable": task is not None
        and task.state in UNSUCCESSFUL
        and await runner.record(task_id),
        "ago": ago,
    }


def _failures(activity: RecentActivity) -> list[tuple[TaskRecord, int]]:
    """List the latest failures, and how many of a task with the same error each stands for."""
    numbers = Counter((task.name, task.error) for task in reversed(activity.failures))
    latest = {(task.name, task.error): task for task in activity.failures}
    return [(latest[key], number) for key, number in numbers.items()][:_FAILURES]


async def _read_durable(store: TaskStore) -> dict[str, Any] | None:
    """Read the table. A database that fails must not take the rest of the page along."""
    try:
        async with asyncio.timeout(_DATABASE_TIMEOUT):
            return {
                "counts": await store.counts(),
                "counted": store.COUNTED,
                "unfinished": await store.unfinished(_DURABLE),
                "failures": await store.failures(_DURABLE),
            }
    except (SQLAlchemyError, TimeoutError):
        logger.warning("the task page could not read the table of durable tasks", exc_info=True)
        return None


def _tasks(
    runner: TaskRunner, runs: Sequence[Run]
) -> list[tuple[str, Task[Any, Any] | None, list[Run]]]:
    """List what the runner knows by name, and whatever else has run, each with its runs."""
    by_name: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_name[run.name].append(run)
    known = {task.name: task for task in runner.tasks}
    names = sorted({*known, *by_name}, key=str.casefold)[:_TASKS]
    return [(name, known.get(name), by_name[name]) for name in names]
