"""Metrics of background tasks: an observer of the runner."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.tasks import TaskInfo, TaskObserver

# From a cache hit to the default timeout of a task.
_BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, float("inf"))


class TaskMetrics(TaskObserver):
    """Counts what happens to tasks. Their names come from the code, so their number is bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._started = Counter(
            "bg_tasks_started_total", "Runs begun.", ["task"], registry=registry
        )
        self._completed = Counter(
            "bg_tasks_completed_total", "Tasks ended.", ["task", "outcome"], registry=registry
        )
        self._errors = Counter(
            "bg_task_errors_total", "Runs that raised.", ["task", "type"], registry=registry
        )
        self._retries = Counter(
            "bg_task_retries_total", "Runs to be repeated.", ["task"], registry=registry
        )
        self._rejected = Counter(
            "bg_tasks_rejected_total",
            "Tasks refused because the queue was full.",
            ["task"],
            registry=registry,
        )
        self._duration = Histogram(
            "bg_task_duration_seconds",
            "Time of a run.",
            ["task"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._wait = Histogram(
            "bg_task_wait_seconds",
            "Time between the moment a task could run and its start.",
            ["task", "priority"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._depth = Gauge(
            "bg_task_queue_depth", "Tasks that wait.", ["priority"], registry=registry
        )
        self._in_progress = Gauge(
            "bg_tasks_in_progress", "Tasks that run.", ["task"], registry=registry
        )
        # Finding a child by its labels costs more than counting does: remember the frequent ones.
        self._depth_of = cache(self._depth.labels)
        self._started_of = cache(self._started.labels)
        self._completed_of = cache(self._completed.labels)
        self._duration_of = cache(self._duration.labels)
        self._wait_of = cache(self._wait.labels)
        self._in_progress_of = cache(self._in_progress.labels)

    def queued(self, info: TaskInfo) -> None:
        """One more waits."""
        self._depth_of(int(info.priority)).inc()

    def started(self, info: TaskInfo) -> None:
        """One waits no longer and runs."""
        priority = int(info.priority)
        self._depth_of(priority).dec()
        self._wait_of(info.name, priority).observe(info.wait)
        self._started_of(info.name).inc()
        self._in_progress_of(info.name).inc()

    def retried(self, info: TaskInfo) -> None:
        """A run failed; the task waits again."""
        self._run_ended(info)
        self._retries.labels(info.name).inc()
        self._depth_of(int(info.priority)).inc()

    def succeeded(self, info: TaskInfo) -> None:
        """A task is done."""
        self._run_ended(info)
        self._completed_of(info.name, info.state).inc()

    # What the three have in common: a run has ended, and the task with it.
    failed = succeeded
    timed_out = succeeded

    def cancelled(self, info: TaskInfo) -> None:
        """A task was cancelled, perhaps before it ran."""
        if info.duration is None:
            self._depth_of(int(info.priority)).dec()
        else:
            self._run_ended(info)
        self._completed_of(info.name, info.state).inc()

    def rejected(self, info: TaskInfo) -> None:
        """A task was refused."""
        self._rejected.labels(info.name).inc()

    def _run_ended(self, info: TaskInfo) -> None:
        self._in_progress_of(info.name).dec()
        self._duration_of(info.name).observe(info.duration or 0.0)
        if info.error is not None:
            self._errors.labels(info.name, type(info.error).__name__).inc()
