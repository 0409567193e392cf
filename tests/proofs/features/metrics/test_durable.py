"""Metrics of the table of durable tasks: a reading that fails, one that takes long."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from math import isnan

import pytest
from prometheus_client import CollectorRegistry

from app.features.metrics import tasks
from app.features.metrics.tasks import DurableTaskMetrics

Reading = tuple[dict[tuple[str, str], int], float]
READING: Reading = ({("work", "queued"): 2, ("work", "dead"): 1}, 7.0)


class Store:
    """Gives one reading after the other, and then lets its reader wait."""

    def __init__(self, readings: Sequence[Reading | Exception]) -> None:
        self._readings = list(readings)
        self.is_empty = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def statistics(self) -> Reading:
        if not self._readings:
            self.is_empty.set()
            await self.goes_on.wait()
            raise ConnectionError
        reading = self._readings.pop(0)
        if isinstance(reading, Exception):
            raise reading
        return reading


async def shown(
    monkeypatch: pytest.MonkeyPatch, *readings: Reading | Exception
) -> dict[tuple[str, ...], float]:
    """Return the samples that say something after some readings, by name and labels."""
    monkeypatch.setattr(tasks, "INTERVAL", 1e-3)
    registry, store = CollectorRegistry(), Store(readings)
    metrics = DurableTaskMetrics(registry)
    async with asyncio.timeout(10), metrics.read_regularly(store):  # type: ignore[arg-type]  # a stand-in
        await store.is_empty.wait()
        samples = [sample for family in registry.collect() for sample in family.samples]
        store.goes_on.set()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for sample in samples
        if not isnan(sample.value)
    }


async def test_what_is_no_longer_there_is_no_longer_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await shown(monkeypatch, READING) == {
        ("bg_durable_tasks", "work", "queued"): 2,
        ("bg_durable_tasks", "work", "dead"): 1,
        ("bg_durable_tasks_oldest_due_seconds",): 7,
    }
    empty: Reading = ({}, 0.0)
    assert await shown(monkeypatch, READING, empty) == {("bg_durable_tasks_oldest_due_seconds",): 0}


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Let threads take turns after a microsecond, so that they meet at every point."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless_threads")
async def test_a_scrape_on_another_thread_misses_nothing_that_is_still_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "INTERVAL", 1e-3)
    registry = CollectorRegistry()
    many = {(f"task{n}", "queued"): n for n in range(100)}
    store, metrics = Store([(many, 0.0)] * 300), DurableTaskMetrics(registry)

    def scrape() -> int:
        samples = [sample for family in registry.collect() for sample in family.samples]
        return sum(sample.name == "bg_durable_tasks" for sample in samples)

    async with asyncio.timeout(10), metrics.read_regularly(store):  # type: ignore[arg-type]  # a stand-in
        while await asyncio.to_thread(scrape) < len(many):
            """Wait for the whole of the first reading."""
        seen = set()
        while not store.is_empty.is_set():
            seen.add(await asyncio.to_thread(scrape))
        store.goes_on.set()
    assert seen == {100}


async def test_a_database_that_fails_costs_the_metric_and_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = ConnectionError("postgresql://me:secret@host is away")

    assert await shown(monkeypatch, READING, error) == {}
    failure = "reading the metrics of tasks failed: ConnectionError: postgresql://***@host is away"
    assert caplog.messages[0] == failure
    assert await shown(monkeypatch, error, READING) != {}


async def test_neither_start_nor_end_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "INTERVAL", 1e6)
    store = Store([])
    metrics = DurableTaskMetrics(CollectorRegistry())
    async with asyncio.timeout(10), metrics.read_regularly(store):  # type: ignore[arg-type]  # a stand-in
        assert not store.is_empty.is_set()  # the reading begins later
        await store.is_empty.wait()
        store.goes_on.set()
