"""The kinds of tasks: the limits of each, and how its latest runs went."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.tasks import Task, TaskRunner

from .recorder import Run
from .text import NOTHING, cut, percentiles, seconds

_SHOWN = 50
_PERIODS = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}


@dataclass(frozen=True)
class KindRow:
    """One kind of task."""

    name: str
    kind: str
    limits: str
    timeout: str
    attempts: int
    runs: str
    failed: str
    wait: str
    """Median and 95th percentile, as is `duration`."""
    duration: str


def make_kind_rows(runner: TaskRunner, runs: Sequence[Run]) -> list[KindRow]:
    """List what the runner knows by name and whatever else has run."""
    by_name: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_name[run.name].append(run)
    known = {task.name: task for task in runner.tasks}
    names = sorted({*known, *by_name}, key=str.casefold)[:_SHOWN]
    default_timeout = runner.settings.default_timeout
    return [_row(name, known.get(name), by_name[name], default_timeout) for name in names]


def _row(
    name: str, task: Task[Any, Any] | None, runs: Sequence[Run], default_timeout: float
) -> KindRow:
    timeout = default_timeout if task is None or task.timeout is None else task.timeout
    return KindRow(
        name=cut(name),
        kind="durable" if task is not None and task.durable else "in memory",
        limits=_limits(task),
        timeout=seconds(timeout),
        attempts=1 if task is None or task.retry is None else task.retry.attempts,
        runs=f"{len(runs):,}",
        failed=f"{sum(not run.succeeded for run in runs):,}",
        wait=_both([run.wait for run in runs]),
        duration=_both([run.duration for run in runs]),
    )


def _limits(task: Task[Any, Any] | None) -> str:
    limits = []
    if task is not None and task.max_concurrency is not None:
        limits.append(f"{task.max_concurrency} at once")
    if task is not None and task.rate is not None:
        limits.append(f"{task.rate.count:,} a {_PERIODS[task.rate.period]}")
    return ", ".join(limits) or NOTHING


def _both(values: Sequence[float]) -> str:
    return " / ".join(percentiles(values, 50, 95)) if values else NOTHING
