"""What the page shows, as text: everything the runner can tell, and what it cannot.

An engine whose tasks run in other processes cannot tell of their runs, and the page says so; the
table of durable tasks is the same for every engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from app.tasks import TaskRunner, TaskState, TaskSummary

from .chart import Chart, ended_chart, queue_chart
from .durable import Durable, read_durable
from .kinds import KindRow, make_kind_rows
from .recorder import Failure, Recorder, Run
from .samples import SPAN, Samples
from .text import NOTHING, ago, cut, percentiles, rate, seconds

_RUNNING, _WAITING = 25, 10
_THROUGHPUT = 60.0


@dataclass(frozen=True)
class Figure:
    """A number with its name and a remark."""

    label: str
    value: str
    remark: str
    is_bad: bool = False


@dataclass(frozen=True)
class LiveRow:
    """A task that runs or waits in this process."""

    id: str
    name: str
    priority: int
    attempt: int
    age: str
    limit: str
    used: int
    """How much of its time limit it has used, in percent."""


@dataclass(frozen=True)
class FailureRow:
    """A run that failed."""

    key: str
    """Different for each run of a task, and the same each time the page is made."""
    id: str
    name: str
    what: str
    ago: str
    error: str
    traceback: str


@dataclass(frozen=True)
class View:
    """The whole page."""

    figures: Sequence[Figure]
    queue: Chart
    ended: Chart
    runs_known: bool
    """Whether tasks run where this process can see them."""
    running: Sequence[LiveRow]
    more_running: int
    waiting: Sequence[LiveRow]
    more_waiting: int
    failures: Sequence[FailureRow]
    durable: Durable
    kinds: Sequence[KindRow]


async def make_view(runner: TaskRunner, recorder: Recorder, samples: Samples) -> View:
    """Look at everything once."""
    durable = await read_durable(runner.store)
    snapshot = runner.snapshot(_RUNNING)
    now = monotonic()
    latest = samples.since(now - SPAN)
    runs = list(recorder.runs(SPAN))
    running = [task for task in snapshot.tasks if task.state is TaskState.RUNNING]
    waiting = [task for task in snapshot.tasks if task.state is TaskState.QUEUED][:_WAITING]
    return View(
        figures=[
            Figure("Waiting", f"{snapshot.queued:,}", f"room for {runner.settings.queue_size:,}"),
            Figure("Running", f"{snapshot.running:,}", f"of {runner.settings.max_concurrency:,}"),
            *_figures(runs, samples.throughput(_THROUGHPUT)),
        ],
        queue=queue_chart(latest, now),
        ended=ended_chart(latest, now),
        runs_known=runner.runs_here,
        running=[_live_row(task) for task in running],
        more_running=snapshot.running - len(running),
        waiting=[_live_row(task) for task in waiting],
        more_waiting=snapshot.queued - len(waiting),
        failures=[_failure_row(failure) for failure in recorder.failures()],
        durable=durable,
        kinds=make_kind_rows(runner, runs),
    )


def _figures(runs: Sequence[Run], throughput: float | None) -> list[Figure]:
    failed = sum(not run.succeeded for run in runs)
    ended = NOTHING if throughput is None else rate(throughput)
    return [
        Figure("Ended", ended, "in the last minute"),
        Figure("Failed runs", f"{failed:,}", f"of the latest {len(runs):,}", is_bad=failed > 0),
        _percentiles("Wait", [run.wait for run in runs]),
        _percentiles("Run time", [run.duration for run in runs]),
    ]


def _percentiles(label: str, values: Sequence[float]) -> Figure:
    p50, p95, p99 = percentiles(values, 50, 95, 99)
    return Figure(label, p50, f"median · 95 %: {p95} · 99 %: {p99}")


def _live_row(task: TaskSummary) -> LiveRow:
    return LiveRow(
        id=task.id,
        name=cut(task.name),
        priority=int(task.priority),
        attempt=task.attempt,
        age=seconds(task.age) if task.age >= 0 else f"due in {seconds(-task.age)}",
        limit=seconds(task.timeout),
        used=min(100, round(max(0.0, task.age) / task.timeout * 100)),
    )


def _failure_row(failure: Failure) -> FailureRow:
    again = ", will be tried again" if failure.state is TaskState.QUEUED else ""
    return FailureRow(
        key=f"{failure.id}-{failure.moment * 1000:.0f}",
        id=failure.id,
        name=cut(failure.name),
        what=f"run {failure.attempt}{again}",
        ago=ago(failure.moment),
        error=failure.error,
        traceback=failure.traceback,
    )
