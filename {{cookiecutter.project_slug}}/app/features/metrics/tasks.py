"""Metrics of background tasks: an observer of the runner."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.tasks import TaskInfo, TaskObserver, TaskState

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
        self._waiting: dict[int, _Level] = {}
        self._running: dict[str, _Level] = {}
        self._children: dict[tuple[str, int], _Children] = {}

    def queued(self, info: TaskInfo) -> None:
        """One more waits."""
        self._children_of(info).depth.value += 1

    def started(self, info: TaskInfo) -> None:
        """One waits no longer and runs."""
        children = self._children_of(info)
        children.depth.value -= 1
        children.wait.observe(info.wait)
        children.started.inc()
        children.in_progress.value += 1

    def retried(self, info: TaskInfo) -> None:
        """A run failed; the task waits again."""
        self._run_ended(info).depth.value += 1
        self._retries.labels(info.name).inc()

    def succeeded(self, info: TaskInfo) -> None:
        """A task is done."""
        self._run_ended(info).succeeded.inc()

    def failed(self, info: TaskInfo) -> None:
        """A task ended without success, perhaps before it ran."""
        self._run_ended(info)
        self._completed.labels(info.name, info.state).inc()

    timed_out = failed
    cancelled = failed

    def rejected(self, info: TaskInfo) -> None:
        """A task was refused."""
        self._rejected.labels(info.name).inc()

    def _run_ended(self, info: TaskInfo) -> "_Children":
        children = self._children_of(info)
        if info.duration is None:  # it ended while it waited
            children.depth.value -= 1
            return children
        children.in_progress.value -= 1
        children.duration.observe(info.duration)
        if info.error is not None:
            self._errors.labels(info.name, type(info.error).__name__).inc()
        return children

    def _children_of(self, info: TaskInfo) -> "_Children":
        key = (info.name, info.priority)
        children = self._children.get(key)
        if children is None:
            priority = int(info.priority)
            if priority not in self._waiting:
                self._waiting[priority] = _Level(self._depth.labels(priority))
            if info.name not in self._running:
                self._running[info.name] = _Level(self._in_progress.labels(info.name))
            children = self._children[key] = _Children(
                depth=self._waiting[priority],
                wait=self._wait.labels(info.name, priority),
                started=self._started.labels(info.name),
                in_progress=self._running[info.name],
                duration=self._duration.labels(info.name),
                succeeded=self._completed.labels(info.name, TaskState.SUCCEEDED),
            )
        return children


class _Level:
    """A gauge that is counted in plain Python, eight times as fast: hooks run on one thread."""

    __slots__ = ("value",)

    def __init__(self, gauge: Gauge) -> None:
        self.value = 0
        gauge.set_function(lambda: self.value)


@dataclass(frozen=True, slots=True)
class _Children:
    """What most tasks count. Finding a child by its labels costs more than counting does."""

    depth: _Level
    wait: Histogram
    started: Counter
    in_progress: _Level
    duration: Histogram
    succeeded: Counter
