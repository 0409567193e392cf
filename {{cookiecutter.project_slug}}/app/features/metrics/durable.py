"""Metrics of the table of durable tasks, which is the same for every process of the service."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.tasks import TableStatistics, TaskStore, describe_error

logger = structlog.get_logger(__name__)

INTERVAL = 15.0
"""Seconds between two readings, as between two scrapes."""


class DurableTaskMetrics(Collector):
    """Shows what the table held when it was last read, and nothing if that has failed.

    Gauges would not do: a scrape on another thread could see them half changed.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._latest: TableStatistics | None = None
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give the latest reading."""
        latest = self._latest
        if latest is None:
            return
        numbers = GaugeMetricFamily(
            "bg_durable_tasks",
            f"Durable tasks, of each state up to {TaskStore.SAMPLED}.",
            labels=["task", "state"],
        )
        for labels, number in latest.numbers.items():
            numbers.add_metric(labels, number)
        yield numbers
        yield GaugeMetricFamily(
            "bg_durable_tasks_oldest_due_seconds",
            "Time for which the oldest durable task that could run has been due.",
            value=latest.overdue,
        )

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
            await self._read(store)
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await stopped.wait()

    async def _read(self, store: TaskStore) -> None:
        try:
            self._latest = await store.statistics()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next reading may succeed
            self._latest = None
            logger.error("durable tasks have no metrics", error=describe_error(error))
