"""Metrics of background tasks: an observer of the runner."""

from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.tasks import TaskInfo, TaskObserver, TaskState

# From a cache hit to the default timeout of a task.
_SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_OUTCOMES = (
    TaskState.SUCCEEDED,
    TaskState.FAILED,
    TaskState.TIMED_OUT,
    TaskState.CANCELLED,
    TaskState.DEAD,
)


class TaskMetrics(TaskObserver):
    """Counts what happens to tasks. Their names come from the code, so their number is bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._of = cache(partial(_Series, _Metrics(registry)))

    def queued(self, info: TaskInfo) -> None:
        """One more waits."""
        self._of(info.name, info.priority).waiting.inc()

    def started(self, info: TaskInfo) -> None:
        """One waits no longer and runs."""
        series = self._of(info.name, info.priority)
        series.waiting.dec()
        series.wait.observe(info.wait)
        series.started.inc()
        series.running.inc()

    def retried(self, info: TaskInfo) -> None:
        """A run failed; the task waits again, perhaps in another process."""
        series = self._end_run(info)
        series.retries.inc()
        if info.retries_here:
            series.waiting.inc()

    def succeeded(self, info: TaskInfo) -> None:
        """A task ended."""
        self._end_run(info).completed[info.state].inc()

    failed = succeeded
    timed_out = succeeded
    dead = succeeded
    cancelled = succeeded

    def rejected(self, info: TaskInfo) -> None:
        """A task was refused."""
        self._of(info.name, info.priority).rejected.inc()

    def _end_run(self, info: TaskInfo) -> "_Series":
        series = self._of(info.name, info.priority)
        if info.duration is None:  # it ended while it waited
            series.waiting.dec()
            return series
        series.running.dec()
        series.duration.observe(info.duration)
        if info.error is not None:
            series.errors(type(info.error).__name__).inc()
        return series


class _Metrics:
    """The metrics by name, and what each counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry, buckets=_SECONDS)
        self.started = counter("bg_tasks_started_total", "Runs begun.", ["task"])
        self.completed = counter("bg_tasks_completed_total", "Tasks ended.", ["task", "outcome"])
        self.errors = counter("bg_task_errors_total", "Runs that raised.", ["task", "type"])
        self.retries = counter("bg_task_retries_total", "Runs to be repeated.", ["task"])
        self.rejected = counter("bg_tasks_rejected_total", "Tasks refused: queue full.", ["task"])
        self.duration = histogram("bg_task_duration_seconds", "Time of a run.", ["task"])
        self.wait = histogram(
            "bg_task_wait_seconds",
            "Time between when a task could run and its start.",
            ["task", "priority"],
        )
        self.waiting = gauge("bg_task_queue_depth", "Tasks that wait.", ["priority"])
        self.running = gauge("bg_tasks_in_progress", "Tasks that run.", ["task"])


class _Series:
    """The metrics of one task at one priority: to find them by labels takes longer than to count.

    They are there from the task's first event on, at zero, so that Prometheus sees any increase.
    """

    def __init__(self, metrics: _Metrics, name: str, priority: int) -> None:
        self.started = metrics.started.labels(name)
        self.completed = {state: metrics.completed.labels(name, state) for state in _OUTCOMES}
        self.errors = partial(metrics.errors.labels, name)
        self.retries = metrics.retries.labels(name)
        self.rejected = metrics.rejected.labels(name)
        self.duration = metrics.duration.labels(name)
        self.wait = metrics.wait.labels(name, int(priority))
        self.waiting = metrics.waiting.labels(int(priority))
        self.running = metrics.running.labels(name)
