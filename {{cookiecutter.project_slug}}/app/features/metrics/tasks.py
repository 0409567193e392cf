"""Metrics of background tasks: of those in this process, and of the table, which all share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from math import nan
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.tasks import TaskInfo, TaskObserver, TaskState, TaskStore
from app.tasks.loop import Loop

INTERVAL = 15.0
"""Seconds between two readings of the table, as between two scrapes."""
# From a cache hit to the default timeout of a task.
_SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_OUTCOMES = frozenset(TaskState) - {TaskState.QUEUED, TaskState.RUNNING, TaskState.REJECTED}


class TaskMetrics(TaskObserver):
    """Counts what happens to tasks. Their names come from the code, so their number is bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Cached, since to find a series by its labels takes longer than to count.
        def series(metric: Any, name: str, text: str, *labels: str) -> Callable[..., Any]:
            return cache(metric(name, text, labels, registry=registry).labels)

        counter, gauge = partial(series, Counter), partial(series, Gauge)
        histogram = partial(series, partial(Histogram, buckets=_SECONDS))
        self._started = counter("bg_tasks_started_total", "Runs begun.", "task")
        self._completed = counter("bg_tasks_completed_total", "Tasks ended.", "task", "outcome")
        self._errors = counter("bg_task_errors_total", "Runs that raised.", "task", "type")
        self._retries = counter("bg_task_retries_total", "Runs to be repeated.", "task")
        self._rejected = counter("bg_tasks_rejected_total", "Tasks refused: queue full.", "task")
        self._duration = histogram("bg_task_duration_seconds", "Time of a run.", "task")
        text = "Time between when a task could run and its start."
        self._wait = histogram("bg_task_wait_seconds", text, "task", "priority")
        self._waiting = gauge("bg_task_queue_depth", "Tasks that wait.", "priority")
        self._running = gauge("bg_tasks_in_progress", "Tasks that run.", "task")
        self._begin_at_zero = cache(self._add_series)

    def queued(self, info: TaskInfo) -> None:
        """One more waits."""
        self._begin_at_zero(info.name)
        self._waiting(info.priority).inc()

    def started(self, info: TaskInfo) -> None:
        """One waits no longer and runs."""
        self._begin_at_zero(info.name)
        self._waiting(info.priority).dec()
        self._wait(info.name, info.priority).observe(info.wait)
        self._started(info.name).inc()
        self._running(info.name).inc()

    def retried(self, info: TaskInfo) -> None:
        """A run failed; the task waits again, perhaps in another process."""
        self._end_run(info)
        self._retries(info.name).inc()
        if info.recorder is None:
            self._waiting(info.priority).inc()

    def succeeded(self, info: TaskInfo) -> None:
        """A task ended."""
        self._end_run(info)
        self._completed(info.name, info.state).inc()

    failed = timed_out = dead = cancelled = succeeded

    def rejected(self, info: TaskInfo) -> None:
        """A task was refused."""
        self._begin_at_zero(info.name)
        self._rejected(info.name).inc()

    def _end_run(self, info: TaskInfo) -> None:
        if info.duration is None:  # it ended while it waited
            self._waiting(info.priority).dec()
            return
        self._running(info.name).dec()
        self._duration(info.name).observe(info.duration)
        if info.error is not None:
            self._errors(info.name, type(info.error).__name__).inc()

    def _add_series(self, name: str) -> None:
        """Let the counters of a task be there: Prometheus sees an increase only if there is a 0."""
        for series in (self._started, self._retries, self._rejected):
            series(name)
        for outcome in _OUTCOMES:
            self._completed(name, outcome)


class DurableTaskMetrics:
    """Shows what the table held when it was last read, and no number if that has failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._numbers = Gauge(
            "bg_durable_tasks",
            f"Durable tasks, of each state up to {TaskStore.SAMPLED}.",
            ["task", "state"],
            registry=registry,
        )
        self._overdue = Gauge(
            "bg_durable_tasks_oldest_due_seconds",
            "Time for which the oldest durable task that could run has been due.",
            registry=registry,
        )
        self._latest: dict[tuple[str, str], int] = {}
        self._show({}, nan)

    @asynccontextmanager
    async def read_regularly(self, store: TaskStore) -> AsyncIterator[None]:
        """Read the table now and every `INTERVAL` seconds, beside what the block does."""
        loop = Loop("reading the metrics of tasks", partial(self._read, store), INTERVAL)
        reader = asyncio.create_task(loop.run())
        try:
            yield
        finally:
            loop.stop()
            await reader  # cancelled, the driver of a database that hangs would take longer

    async def _read(self, store: TaskStore) -> None:
        numbers: dict[tuple[str, str], int] = {}
        overdue = nan
        try:
            numbers, overdue = await store.statistics()
        finally:
            self._show(numbers, overdue)

    def _show(self, numbers: dict[tuple[str, str], int], overdue: float) -> None:
        # Without clear(): a scrape on another thread must not miss what is still there.
        for labels in self._latest.keys() - numbers.keys():
            self._numbers.remove(*labels)
        for labels, number in numbers.items():
            self._numbers.labels(*labels).set(number)
        self._overdue.set(overdue)
        self._latest = numbers
