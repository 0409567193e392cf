"""Metrics of the tasks in this process, and of the table of durable tasks, which all share."""

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
"""Seconds between two reads of the table, as between two scrapes."""
# From a cache hit to the default timeout of a task.
_SECONDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_OUTCOMES = frozenset(TaskState) - {TaskState.QUEUED, TaskState.RUNNING, TaskState.REJECTED}


class TaskMetrics(TaskObserver):
    """Counts what happens to tasks. The names come from the code, so there are few series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Cached, because finding a series by its labels takes longer than counting.
        def series(metric: Any, name: str, text: str, *labels: str) -> Callable[..., Any]:
            return cache(metric(name, text, labels, registry=registry).labels)

        counter, gauge = partial(series, Counter), partial(series, Gauge)
        histogram = partial(series, partial(Histogram, buckets=_SECONDS))
        self._started = counter("bg_tasks_started_total", "Started runs.", "task")
        self._completed = counter("bg_tasks_completed_total", "Ended tasks.", "task", "outcome")
        self._errors = counter("bg_task_errors_total", "Errors raised by runs.", "task", "type")
        self._retries = counter("bg_task_retries_total", "Retried runs.", "task")
        self._rejected = counter("bg_tasks_rejected_total", "Refused tasks.", "task")
        self._duration = histogram("bg_task_duration_seconds", "Duration of a run.", "task")
        text = "Time from when a task is due until it starts."
        self._wait = histogram("bg_task_wait_seconds", text, "task", "priority")
        self._waiting = gauge("bg_task_queue_depth", "Waiting tasks.", "priority")
        self._running = gauge("bg_tasks_in_progress", "Running tasks.", "task")
        self._begin_at_zero = cache(self._add_series)

    def queued(self, info: TaskInfo) -> None:
        """Count a task as waiting."""
        self._begin_at_zero(info.name)
        self._waiting(info.priority).inc()

    def started(self, info: TaskInfo) -> None:
        """Count a task that waited as running."""
        self._begin_at_zero(info.name)
        self._waiting(info.priority).dec()
        self._wait(info.name, info.priority).observe(info.wait)
        self._started(info.name).inc()
        self._running(info.name).inc()

    def retried(self, info: TaskInfo) -> None:
        """Count a failed run; the task waits again, perhaps in another process."""
        self._end_run(info)
        self._retries(info.name).inc()
        if info.recorder is None:
            self._waiting(info.priority).inc()

    def succeeded(self, info: TaskInfo) -> None:
        """Count a task as ended."""
        self._end_run(info)
        self._completed(info.name, info.state).inc()

    failed = timed_out = dead = cancelled = succeeded

    def rejected(self, info: TaskInfo) -> None:
        """Count a refused task."""
        self._begin_at_zero(info.name)
        self._rejected(info.name).inc()

    def _end_run(self, info: TaskInfo) -> None:
        if info.duration is None:  # the task ended while it waited
            self._waiting(info.priority).dec()
            return
        self._running(info.name).dec()
        self._duration(info.name).observe(info.duration)
        if info.error is not None:
            self._errors(info.name, type(info.error).__name__).inc()

    def _add_series(self, name: str) -> None:
        """Create a task's counters at 0: Prometheus does not see an increase in a new series."""
        for series in (self._started, self._retries, self._rejected):
            series(name)
        for outcome in _OUTCOMES:
            self._completed(name, outcome)


class DurableTaskMetrics:
    """Exports what the table contained at the last read, or no numbers if that failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._numbers = Gauge(
            "bg_durable_tasks",
            f"Durable tasks by state, each counted up to {TaskStore.SAMPLED}.",
            ["task", "state"],
            registry=registry,
        )
        self._overdue = Gauge(
            "bg_durable_tasks_oldest_due_seconds",
            "Time since the oldest durable task that could run became due.",
            registry=registry,
        )
        self._latest: dict[tuple[str, str], int] = {}
        self._show({}, nan)

    @asynccontextmanager
    async def read_regularly(self, store: TaskStore) -> AsyncIterator[None]:
        """Read the table now and every `INTERVAL` seconds during the block."""
        loop = Loop("reading the metrics of tasks", partial(self._read, store), INTERVAL)
        reader = asyncio.create_task(loop.run())
        try:
            yield
        finally:
            loop.stop()
            await reader  # cancelling takes longer if the database hangs

    async def _read(self, store: TaskStore) -> None:
        numbers: dict[tuple[str, str], int] = {}
        overdue = nan
        try:
            numbers, overdue = await store.statistics()
        finally:
            self._show(numbers, overdue)

    def _show(self, numbers: dict[tuple[str, str], int], overdue: float) -> None:
        # Not by clear(): a scrape in another thread would miss the series that stay.
        for labels in self._latest.keys() - numbers.keys():
            self._numbers.remove(*labels)
        for labels, number in numbers.items():
            self._numbers.labels(*labels).set(number)
        self._overdue.set(overdue)
        self._latest = numbers
