"""Task metrics: every outcome of a task, and gauges that return to zero."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.features.metrics.tasks import TaskMetrics
from app.tasks import (
    PoisonedError,
    Priority,
    QueueFull,
    Retry,
    TaskInfo,
    TaskObserver,
    TaskRunner,
    TaskSettings,
    TaskState,
    task,
)


@task(name="good")
async def good() -> None:
    """Do nothing."""


@task(name="bad")
async def bad() -> None:
    raise LookupError


@task(name="stuck")
async def stuck() -> None:
    await asyncio.Event().wait()


@task(name="flaky", retry=Retry(attempts=3, delay=0.0))
async def flaky() -> None:
    raise ConnectionError


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> TaskMetrics:
    return TaskMetrics(registry)


def test_dead_tasks_are_counted(registry: CollectorRegistry, metrics: TaskMetrics) -> None:
    info = TaskInfo("id", "poison", Priority.NORMAL)
    metrics.queued(info)
    info.started_at = 0.0
    metrics.started(info)
    info.state, info.duration, info.error = TaskState.DEAD, 0.0, PoisonedError("again")
    metrics.dead(info)

    labels = {"task": "poison", "outcome": "dead"}
    assert registry.get_sample_value("bg_tasks_completed_total", labels) == 1


class Values:
    """The values in the registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def __call__(self, name: str, **labels: str) -> float:
        return self._registry.get_sample_value(name, labels) or 0.0

    def gauges(self) -> list[float]:
        names = ("bg_task_queue_depth", "bg_tasks_in_progress")
        return [
            sample.value
            for family in self._registry.collect()
            for sample in family.samples
            if sample.name in names
        ]


@pytest.fixture
def value(registry: CollectorRegistry) -> Values:
    return Values(registry)


async def test_timeout_is_counted_as_outcome_and_error(metrics: TaskMetrics, value: Values) -> None:
    async with TaskRunner(TaskSettings(), [metrics]) as runner:
        runner.options(timeout=0.01).submit(stuck)
        await runner.join(5)

    assert value("bg_tasks_completed_total", task="stuck", outcome="timed_out") == 1
    assert value("bg_task_errors_total", task="stuck", type="TimeoutError") == 1
    assert value.gauges() == [0.0, 0.0]


async def test_every_attempt_and_retry_is_counted(metrics: TaskMetrics, value: Values) -> None:
    async with TaskRunner(TaskSettings(), [metrics]) as runner:
        runner.submit(flaky)
        await runner.join(5)

    assert value("bg_tasks_started_total", task="flaky") == 3
    assert value("bg_task_retries_total", task="flaky") == 2
    assert value("bg_task_errors_total", task="flaky", type="ConnectionError") == 3
    assert value("bg_tasks_completed_total", task="flaky", outcome="failed") == 1
    assert value("bg_task_duration_seconds_count", task="flaky") == 3
    assert value.gauges() == [0.0, 0.0]


async def test_cancelled_waiting_and_running_tasks_are_counted(
    metrics: TaskMetrics, value: Values
) -> None:
    started = asyncio.Event()

    async def run() -> None:
        started.set()
        await asyncio.Event().wait()

    async with TaskRunner(TaskSettings(max_concurrency=1), [metrics]) as runner:
        running = runner.submit(run)
        waiting = runner.submit(good)
        delayed = runner.options(delay=60).submit(good)
        async with asyncio.timeout(5):
            await started.wait()
        for task_id in (waiting, delayed, running):
            assert runner.cancel(task_id)
        await runner.join(5)

    name = run.__qualname__
    assert value("bg_tasks_completed_total", task=name, outcome="cancelled") == 1
    assert value("bg_tasks_completed_total", task="good", outcome="cancelled") == 2
    assert value("bg_tasks_started_total", task="good") == 0
    assert value("bg_task_duration_seconds_count", task=name) == 1
    assert set(value.gauges()) == {0.0}


async def test_task_cancelled_between_attempts_is_counted(
    metrics: TaskMetrics, value: Values
) -> None:
    failed = asyncio.Event()

    class FailureEvent(TaskObserver):
        def retried(self, info: TaskInfo) -> None:
            assert info.retry_in is not None
            failed.set()

    retry = Retry(attempts=2, delay=1e6, max_delay=1e6)
    observers = [metrics, FailureEvent()]
    async with TaskRunner(TaskSettings(), observers) as runner:
        task_id = runner.options(retry=retry).submit(bad)
        async with asyncio.timeout(5):
            await failed.wait()
        assert runner.cancel(task_id)
        await runner.join(5)

    assert value("bg_task_retries_total", task="bad") == 1
    assert value("bg_tasks_completed_total", task="bad", outcome="cancelled") == 1
    assert value("bg_task_duration_seconds_count", task="bad") == 1
    assert value("bg_task_errors_total", task="bad", type="LookupError") == 1
    assert set(value.gauges()) == {0.0}


async def test_shutdown_cancellations_are_counted(metrics: TaskMetrics, value: Values) -> None:
    settings = TaskSettings(max_concurrency=1, drain_timeout=0.01)
    async with TaskRunner(settings, [metrics]) as runner:
        runner.submit(stuck)
        runner.submit(good)

    assert value("bg_tasks_completed_total", task="stuck", outcome="cancelled") == 1
    assert value("bg_tasks_completed_total", task="good", outcome="cancelled") == 1
    assert set(value.gauges()) == {0.0}


async def test_rejected_task_is_counted(metrics: TaskMetrics, value: Values) -> None:
    settings = TaskSettings(queue_size=1, max_concurrency=1)
    async with TaskRunner(settings, [metrics]) as runner:
        runner.submit(good)
        runner.submit(good)
        with pytest.raises(QueueFull):
            runner.submit(bad)
        await runner.join(5)

    assert value("bg_tasks_rejected_total", task="bad") == 1
    assert value("bg_tasks_started_total", task="bad") == 0
    assert set(value.gauges()) == {0.0}


async def test_gauges_are_zero_after_200_tasks(metrics: TaskMetrics, value: Values) -> None:
    async with TaskRunner(TaskSettings(max_concurrency=4), [metrics]) as runner:
        for number in range(200):
            runner.submit((good, bad, flaky)[number % 3], priority=number % 10)
        await runner.join(10)

    outcomes = {
        name: value("bg_tasks_completed_total", task=name, outcome=outcome)
        for name, outcome in (("good", "succeeded"), ("bad", "failed"), ("flaky", "failed"))
    }
    assert outcomes == {"good": 67, "bad": 67, "flaky": 66}
    assert set(value.gauges()) == {0.0}


async def test_durations_are_counted_in_buckets(metrics: TaskMetrics, value: Values) -> None:
    info = TaskInfo("id", "timed", Priority.NORMAL)
    info.state = TaskState.SUCCEEDED
    for duration in (0.005, 0.0051, 2.0, 3600.0):
        metrics.queued(info)
        metrics.started(info)
        info.duration = duration
        metrics.succeeded(info)

    bounds = ("0.005", "0.01", "1.0", "5.0", "300.0", "+Inf")
    name = "bg_task_duration_seconds"
    counts = [value(f"{name}_bucket", task="timed", le=bound) for bound in bounds]
    assert counts == [1, 2, 2, 3, 3, 4]
    assert value(f"{name}_sum", task="timed") == pytest.approx(3602.0101)


@pytest.mark.parametrize("created", [True, False])
async def test_series_have_the_form_of_the_client_library(
    registry: CollectorRegistry,
    metrics: TaskMetrics,
    monkeypatch: pytest.MonkeyPatch,
    created: bool,
) -> None:
    async with TaskRunner(TaskSettings(), [metrics]) as runner:
        runner.submit(bad)
        await runner.join(5)

    monkeypatch.setattr("prometheus_client.metrics._use_created", created)
    text = generate_latest(registry).decode()
    assert 'bg_tasks_completed_total{outcome="failed",task="bad"} 1.0' in text
    assert 'bg_task_wait_seconds_bucket{le="+Inf",priority="5",task="bad"} 1.0' in text
    assert 'bg_task_retries_total{task="bad"} 0.0' in text
    for series in ("bg_tasks_started_created", "bg_task_duration_seconds_created"):
        assert (series + '{task="bad"} ' in text) is created


@pytest.mark.usefixtures("metrics")
def test_metrics_have_the_documented_names(registry: CollectorRegistry) -> None:
    assert {family.name for family in registry.collect()} == {
        "bg_tasks_started", "bg_tasks_completed", "bg_task_errors", "bg_task_retries",
        "bg_tasks_rejected", "bg_task_duration_seconds", "bg_task_wait_seconds",
        "bg_task_queue_depth", "bg_tasks_in_progress",
    }  # fmt: skip


@pytest.mark.usefixtures("metrics")
def test_second_registration_of_the_names_is_refused(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="bg_tasks_started"):
        TaskMetrics(registry)
