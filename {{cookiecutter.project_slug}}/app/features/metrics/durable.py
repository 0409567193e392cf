"""Metrics of the table of durable tasks, which is the same for every process of the service."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from math import nan

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.tasks import TaskStore, describe_error
from app.tasks.info import TableStatistics

logger = structlog.get_logger(__name__)

INTERVAL = 15.0
"""Seconds between two readings, as between two scrapes."""
_UNKNOWN = TableStatistics({}, overdue=nan)


class DurableTaskMetrics(Collector):
    """Shows what the table held when it was last read, and no number if that has failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._latest = _UNKNOWN
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give the registry what a scrape is answered with."""
        table = self._latest  # once: the next reading may end meanwhile, on another thread
        text = f"Durable tasks, of each state up to {TaskStore.SAMPLED}."
        numbers = GaugeMetricFamily("bg_durable_tasks", text, labels=["task", "state"])
        for labels, number in table.numbers.items():
            numbers.add_metric(labels, number)
        yield numbers
        text = "Time for which the oldest durable task that could run has been due."
        yield GaugeMetricFamily("bg_durable_tasks_oldest_due_seconds", text, table.overdue)

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
            try:
                self._latest = await store.statistics()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next may succeed
                logger.error("durable tasks have no metrics", error=describe_error(error))
                self._latest = _UNKNOWN
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), INTERVAL)
