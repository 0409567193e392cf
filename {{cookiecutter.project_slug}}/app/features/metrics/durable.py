"""Metrics of the table of durable tasks, which is the same for every process of the service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from math import nan

import structlog
from prometheus_client import CollectorRegistry, Gauge

from app.tasks import TaskStore, describe_error
from app.tasks.info import TableStatistics

logger = structlog.get_logger(__name__)

INTERVAL = 15.0
"""Seconds between two readings, as between two scrapes."""


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
        self._overdue.set(nan)

    @asynccontextmanager
    async def read_regularly(self, store: TaskStore) -> AsyncIterator[None]:
        """Read the table now and every `INTERVAL` seconds, beside what the block does."""
        stopped = asyncio.Event()
        reader = asyncio.create_task(self._read_until(stopped, store))
        try:
            yield
        finally:
            stopped.set()
            await reader  # cancelled, the driver of a database that hangs would take longer

    async def _read_until(self, stopped: asyncio.Event, store: TaskStore) -> None:
        while not stopped.is_set():
            table = TableStatistics({}, overdue=nan)
            try:
                table = await store.statistics()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next may succeed
                logger.error("durable tasks have no metrics", error=describe_error(error))
            self._show(table)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), INTERVAL)

    def _show(self, table: TableStatistics) -> None:
        self._numbers.clear()
        for labels, number in table.numbers.items():
            self._numbers.labels(*labels).set(number)
        self._overdue.set(table.overdue)
