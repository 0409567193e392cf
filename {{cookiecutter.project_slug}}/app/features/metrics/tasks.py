"""Metrics of background tasks: an observer of the runner that Prometheus can ask."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from app.tasks import TaskInfo, TaskObserver

from .counts import PriorityCounts, TaskCounts
from .families import counter, gauge, histogram


class TaskMetrics(TaskObserver, Collector):
    """Counts what happens to tasks. Their names come from the code, so their number is bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tasks: defaultdict[str, TaskCounts] = defaultdict(TaskCounts)
        self._kinds = _Kinds(self._tasks)
        registry.register(self)

    def queued(self, info: TaskInfo) -> None:
        """One more waits."""
        self._kinds[info.name, info.priority].waiting += 1

    def started(self, info: TaskInfo) -> None:
        """One waits no longer and runs."""
        counts = self._kinds[info.name, info.priority]
        counts.waiting -= 1
        counts.waits.observe(info.wait)
        counts.of_task.started += 1
        counts.of_task.running += 1

    def retried(self, info: TaskInfo) -> None:
        """A run failed; the task waits again, perhaps in another process."""
        self._run_ended(info).retried += 1
        if not info.repeats_elsewhere:
            self._kinds[info.name, info.priority].waiting += 1

    def succeeded(self, info: TaskInfo) -> None:
        """A task ended."""
        self._run_ended(info).ended[info.state] += 1

    failed = succeeded
    timed_out = succeeded
    dead = succeeded
    cancelled = succeeded

    def rejected(self, info: TaskInfo) -> None:
        """A task was refused."""
        self._tasks[info.name].rejected += 1

    def describe(self) -> Iterator[Metric]:
        """Tell the registry the names."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they stand; a scrape may ask from another thread."""
        tasks = list(self._tasks.items())
        kinds = [([name, str(p)], counts) for (name, p), counts in list(self._kinds.items())]
        yield from _counters(tasks)
        yield from _histograms(tasks, kinds)
        yield from _gauges(tasks, kinds)

    def _run_ended(self, info: TaskInfo) -> TaskCounts:
        if info.duration is None:  # it ended while it waited
            counts = self._kinds[info.name, info.priority]
            counts.waiting -= 1
            return counts.of_task
        task = self._tasks[info.name]
        task.running -= 1
        task.runs.observe(info.duration)
        if info.error is not None:
            task.errors[type(info.error).__name__] += 1
        return task


class _Kinds(dict[tuple[str, int], PriorityCounts]):
    """The counts by task and priority; those of a new pair begin when they are asked for."""

    def __init__(self, tasks: defaultdict[str, TaskCounts]) -> None:
        super().__init__()
        self._tasks = tasks

    def __missing__(self, key: tuple[str, int]) -> PriorityCounts:
        name, priority = key
        counts = self[name, int(priority)] = PriorityCounts(self._tasks[name])
        return counts


def _counters(tasks: list[tuple[str, TaskCounts]]) -> Iterator[Metric]:
    yield counter(
        "bg_tasks_started_total",
        "Runs begun.",
        ["task"],
        (([name], counts.started, counts.created) for name, counts in tasks),
    )
    yield counter(
        "bg_tasks_completed_total",
        "Tasks ended.",
        ["task", "outcome"],
        (
            ([name, outcome], number, counts.created)
            for name, counts in tasks
            for outcome, number in counts.ended.copy().items()
        ),
    )
    yield counter(
        "bg_task_errors_total",
        "Runs that raised.",
        ["task", "type"],
        (
            ([name, error], number, counts.created)
            for name, counts in tasks
            for error, number in counts.errors.copy().items()
        ),
    )
    yield counter(
        "bg_task_retries_total",
        "Runs to be repeated.",
        ["task"],
        (([name], counts.retried, counts.created) for name, counts in tasks),
    )
    yield counter(
        "bg_tasks_rejected_total",
        "Tasks refused because the queue was full.",
        ["task"],
        (([name], counts.rejected, counts.created) for name, counts in tasks),
    )


def _histograms(
    tasks: list[tuple[str, TaskCounts]], kinds: list[tuple[list[str], PriorityCounts]]
) -> Iterator[Metric]:
    yield histogram(
        "bg_task_duration_seconds",
        "Time of a run.",
        ["task"],
        (([name], counts.runs, counts.created) for name, counts in tasks),
    )
    yield histogram(
        "bg_task_wait_seconds",
        "Time between the moment a task could run and its start.",
        ["task", "priority"],
        ((labels, counts.waits, counts.created) for labels, counts in kinds),
    )


def _gauges(
    tasks: list[tuple[str, TaskCounts]], kinds: list[tuple[list[str], PriorityCounts]]
) -> Iterator[Metric]:
    depth: Counter[str] = Counter()
    for (_, priority), counts in kinds:
        depth[priority] += counts.waiting
    yield gauge(
        "bg_task_queue_depth",
        "Tasks that wait.",
        ["priority"],
        (([priority], number) for priority, number in depth.items()),
    )
    yield gauge(
        "bg_tasks_in_progress",
        "Tasks that run.",
        ["task"],
        (([name], counts.running) for name, counts in tasks),
    )
