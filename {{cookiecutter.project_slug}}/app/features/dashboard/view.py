"""Collects what the task page shows, and formats its times; the templates have the other texts.

An engine whose tasks run in other processes does not know their runs, and the page says so. The
table of durable tasks is the same for every engine.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from time import time
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.db.readiness import NO_ANSWER
from app.history import History
from app.tasks import Snapshot, TaskRecord, TaskRunner, TaskState, TaskStore, TaskType

from .activity import SPAN, draw

_LIVE, _FAILURES, _DURABLE = 25, 10, 10
"""Rows of each table."""
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))
_CENTURY = 100 * 365 * 86400


async def make_view(
    runner: TaskRunner, history: History, snapshots: Sequence[Snapshot], trouble: str | None
) -> dict[str, Any]:
    """Return the variables of the templates; `trouble` is why the table may not be readable."""
    durable = await _durable(runner.store, trouble)
    snapshot = runner.snapshot(_LIVE)  # nothing is awaited from here on, or it would be outdated
    queue, ended = draw(snapshots, snapshot)
    ended_lately = history.since(time() - SPAN)
    runs = [task for task in ended_lately if task.started_at and task.state != TaskState.CANCELLED]
    return {
        "now": time(),
        "runs_known": not snapshot.runs_elsewhere,
        "snapshot": snapshot,
        "settings": runner.settings,
        "queue": queue,
        "ended": ended,
        "times": _times(runs),
        "failures": _failures(history),
        "durable": durable,
        "trouble": trouble,
        "tasks": _tasks(runner, runs),
    }


def seconds(value: float) -> str:
    """Format a duration: "4 ms", "1.2 s", "90 s", "3.1 min", "90 min", "2.7 h", "4 d"."""
    if value > _CENTURY:  # a timeout of `math.inf`, or what the table has instead
        return "no limit"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    # A unit is used from 2 on: 90 s, and not 1.5 min.
    size, unit = next(((size, unit) for size, unit in _UNITS if value >= 2 * size), (1, "s"))
    number = value / size
    return f"{number:.2g} {unit}" if number < 10 else f"{number:,.0f} {unit}"  # noqa: PLR2004 - two digits below


def ago(then: float) -> str:
    """Format how long ago `then` was, in seconds since the epoch."""
    passed = round(max(0.0, time() - then))  # the clock of another machine may be ahead
    return f"{seconds(passed)} ago" if passed > 0 else "just now"


async def _durable(store: TaskStore, trouble: str | None) -> dict[str, Any]:
    """Return what the table contains; nothing if it cannot be read because of `trouble`."""
    if trouble == NO_ANSWER:
        return {}
    with suppress(SQLAlchemyError) if trouble else nullcontext():
        return {
            "counts": await store.counts(),
            "counted": store.COUNTED,
            "unfinished": await store.unfinished(_DURABLE),
            "failures": await store.failures(_DURABLE),
        }
    return {}


def _failures(history: History) -> list[tuple[TaskRecord, int]]:
    """Return the latest failures, one for each task and error, each with how many there are."""
    failures = history.failures()
    numbers = Counter((task.name, task.error) for task in failures)
    latest = {(task.name, task.error): task for task in reversed(failures)}
    return [(latest[key], number) for key, number in numbers.items()][:_FAILURES]


def _tasks(
    runner: TaskRunner, runs: Iterable[TaskRecord]
) -> list[tuple[str, TaskType | None, dict[str, Any]]]:
    """Return all tasks that the runner knows or that have run, each with figures of its runs."""
    by_name: dict[str, list[TaskRecord]] = defaultdict(list)
    for run in runs:
        by_name[run.name].append(run)
    types = {type_.name: type_ for type_ in runner.types()}
    names = sorted({*types, *by_name}, key=str.casefold)
    return [(name, types.get(name), _times(by_name[name])) for name in names]


def _times(runs: Sequence[TaskRecord]) -> dict[str, Any]:
    """Return how many runs there are, and the median and 95th percentile of their times."""
    return {
        "runs": len(runs),
        "failed": sum(run.error is not None for run in runs),
        "wait": _percentiles((run.started_at or 0.0) - run.due_at for run in runs),
        "duration": _percentiles(
            (run.finished_at or 0.0) - (run.started_at or 0.0) for run in runs
        ),
    }


def _percentiles(values: Iterable[float]) -> list[str]:
    ordered = sorted(values)
    if not ordered:
        return ["\N{EN DASH}"] * 2
    return [seconds(ordered[len(ordered) * percent // 100]) for percent in (50, 95)]
