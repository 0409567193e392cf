"""Metrics of the durable tasks' table: readings that change, fail or take long."""

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
    """A stub that returns its readings in order and then blocks its reader."""

    def __init__(self, readings: Sequence[Reading | Exception]) -> None:
        self._readings = list(readings)
        self.is_empty = asyncio.Event()
        self.may_continue = asyncio.Event()

    async def statistics(self) -> Reading:
        if not self._readings:
            self.is_empty.set()
            await self.may_continue.wait()
            raise ConnectionError
        reading = self._readings.pop(0)
        if isinstance(reading, Exception):
            raise reading
        return reading


async def read_samples(
    monkeypatch: pytest.MonkeyPatch, *readings: Reading | Exception
) -> dict[tuple[str, ...], float]:
    """Return the samples after the readings, by name and labels, without those that are NaN."""
    monkeypatch.setattr(tasks, "INTERVAL", 1e-3)
    registry, store = CollectorRegistry(), Store(readings)
    metrics = DurableTaskMetrics(registry)
    async with asyncio.timeout(10), metrics.read_regularly(store):  # type: ignore[arg-type]  # a stand-in
        await store.is_empty.wait()
        samples = [sample for family in registry.collect() for sample in family.samples]
        store.may_continue.set()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for sample in samples
        if not isnan(sample.value)
    }


async def test_series_of_vanished_tasks_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await read_samples(monkeypatch, READING) == {
        ("bg_durable_tasks", "work", "queued"): 2,
        ("bg_durable_tasks", "work", "dead"): 1,
        ("bg_durable_tasks_oldest_due_seconds",): 7,
    }
    empty: Reading = ({}, 0.0)
    assert await read_samples(monkeypatch, READING, empty) == {
        ("bg_durable_tasks_oldest_due_seconds",): 0
    }


@pytest.fixture
def fast_thread_switches() -> Iterator[None]:
    """Switch threads every microsecond, so that races become likely."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("fast_thread_switches")
async def test_concurrent_scrape_never_misses_a_current_series(
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
            """Wait for the first complete reading."""
        counts = set()
        while not store.is_empty.is_set():
            counts.add(await asyncio.to_thread(scrape))
        store.may_continue.set()
    assert counts == {100}


async def test_failed_reading_clears_the_metric_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = ConnectionError("postgresql://me:secret@host is away")

    assert await read_samples(monkeypatch, READING, error) == {}
    failure = "reading the metrics of tasks failed: ConnectionError: postgresql://***@host is away"
    assert caplog.messages[0] == failure
    assert await read_samples(monkeypatch, error, READING) != {}


async def test_start_and_stop_do_not_wait_for_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "INTERVAL", 1e6)
    store = Store([])
    metrics = DurableTaskMetrics(CollectorRegistry())
    async with asyncio.timeout(10), metrics.read_regularly(store):  # type: ignore[arg-type]  # a stand-in
        assert not store.is_empty.is_set()  # the first reading starts later
        await store.is_empty.wait()
        store.may_continue.set()
