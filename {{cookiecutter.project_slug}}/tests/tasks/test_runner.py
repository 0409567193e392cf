"""A runner without a service: order, limits, failures, options and schedules."""

import asyncio
import json
import logging
import math
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.tasks import (
    ArgumentError,
    LoggingObserver,
    Priority,
    Progress,
    Retry,
    Snooze,
    TaskObserver,
    TaskRunner,
    TaskSettings,
    current_task,
    report_progress,
    task,
)
from app.tasks.testing import next_runs

from .gate import Gate
from .shop import happened, ship
from .watcher import Watcher


async def fail() -> None:
    raise ConnectionError


async def test_a_durable_task_can_be_called_or_run_in_memory_without_a_database() -> None:
    happened.clear()
    await ship(1)
    async with TaskRunner(TaskSettings(), in_memory=True) as runner:
        runner.submit(ship, 2)
        await runner.join(5)
    assert happened[1::2] == ["shipping 1 is done", "shipping 2 is done"]


# Order.


async def test_tasks_run_by_priority_and_then_in_order_of_submission(gate: Gate) -> None:
    async with TaskRunner(TaskSettings(max_concurrency=1)) as runner:
        runner.submit(gate.hold, "first")
        for label in ("a", "b"):
            runner.submit(gate.hold, f"low {label}", priority=Priority.LOW)
            runner.submit(gate.hold, f"normal {label}")
            runner.submit(gate.hold, f"urgent {label}", priority=Priority.URGENT)
        gate.open()
    assert ", ".join(gate.entered) == (
        "first, urgent a, urgent b, normal a, normal b, low a, low b"
    )


@pytest.mark.parametrize(
    ("aging", "order"),
    [(0.01, ["first", "idle", "urgent"]), (math.inf, ["first", "urgent", "idle"])],
)
async def test_a_task_that_has_waited_long_enough_runs_before_a_higher_priority(
    gate: Gate, aging: float, order: list[str]
) -> None:
    long_enough = asyncio.Event()
    async with TaskRunner(TaskSettings(max_concurrency=1, aging=aging)) as runner:
        runner.submit(gate.hold, "first")
        runner.submit(gate.hold, "idle", priority=Priority.IDLE)
        asyncio.get_running_loop().call_later(0.1, long_enough.set)  # nine steps are 0.09 s
        await long_enough.wait()
        runner.submit(gate.hold, "urgent", priority=Priority.URGENT)
        gate.open()
    assert gate.entered == order


async def test_a_task_can_be_delayed_and_cancelled(gate: Gate, watcher: Watcher) -> None:
    async with TaskRunner(TaskSettings(), [watcher]) as runner:
        runner.options(delay=0.05).submit(gate.hold, "later")
        runner.submit(gate.hold, "now")
        await gate.holds(2)
        waiting = runner.options(delay=60).submit(gate.hold, "waiting")
        running = runner.submit(gate.hold, "running")
        await gate.holds(3)
        assert runner.cancel(waiting)
        assert runner.cancel(running)
        await watcher.until("cancelled", 2)
        gate.open()
    assert gate.entered == ["now", "later", "running"]
    assert gate.left == ["now", "later"]
    assert watcher.ids("cancelled") == [waiting, running]


async def test_a_task_runs_at_the_given_time(gate: Gate) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.05)
    async with TaskRunner(TaskSettings()) as runner:
        runner.options(at=soon).submit(gate.hold)
        await gate.holds(1)
        assert datetime.now(UTC) >= soon
        gate.open()
        with pytest.raises(ValueError, match="timezone"):
            runner.options(at=soon.replace(tzinfo=None))


async def test_one_key_is_one_job_until_the_job_has_ended(gate: Gate) -> None:
    @task
    async def send_invoice(number: int) -> None:
        await gate.hold(number)

    async with TaskRunner(TaskSettings()) as runner:
        ids = {runner.options(key="invoice:42").submit(send_invoice, 42) for _ in range(20)}
        runner.options(key="invoice:43").submit(send_invoice, 43)
        gate.open()
        await runner.join(5)
        assert (len(ids), sorted(gate.left)) == (1, [42, 43])
        assert {runner.options(key="invoice:42").submit(send_invoice, 42)} == ids
    assert gate.left.count(42) == 2


# Limits.


@pytest.mark.parametrize("limit", [{"max_concurrency": 1}, {"rate_limit": "1/hour"}])
async def test_a_task_at_its_limit_does_not_hold_up_other_tasks(
    gate: Gate, limit: dict[str, Any]
) -> None:
    @task(**limit)
    async def limited(label: str) -> None:
        await gate.hold(label)

    async with TaskRunner(TaskSettings(max_concurrency=3, drain_timeout=0)) as runner:
        for label in ("one", "two", "three"):
            runner.submit(limited, label, priority=Priority.URGENT)
        runner.submit(gate.hold, "other")
        runner.submit(gate.hold, "another")
        await gate.holds(3)
        assert gate.entered == ["one", "other", "another"]


async def test_a_limit_can_apply_to_each_value_of_a_parameter(gate: Gate) -> None:
    @task(max_concurrency=1, per="tenant")
    async def export(tenant: str, part: int = 0) -> None:
        await gate.hold((tenant, part))

    async with TaskRunner(TaskSettings()) as runner:
        for part in range(3):
            runner.submit(export, "a", part=part)
        runner.submit(export, tenant="b")
        await gate.holds(2)
        assert gate.entered == [("a", 0), ("b", 0)]
        gate.open()
    assert len(gate.left) == 4


async def test_a_waiting_retry_holds_no_slot_and_no_capacity(gate: Gate, watcher: Watcher) -> None:
    settings = TaskSettings(max_concurrency=1, queue_size=1, drain_timeout=0)
    async with TaskRunner(settings, [watcher]) as runner:
        runner.options(retry=Retry(delay=1e6, max_delay=1e6)).submit(fail)
        await watcher.until("retried")
        runner.submit(gate.hold)
        await gate.holds(1)
        assert watcher.attempts("started") == [1, 1]


async def test_a_sync_task_that_outlives_its_timeout_is_reported_and_keeps_its_slot(
    gate: Gate, watcher: Watcher
) -> None:
    go_on = threading.Event()

    @task(timeout=0.05, retry=Retry(attempts=2, delay=0))
    def stubborn() -> None:
        go_on.wait(30)

    async with TaskRunner(TaskSettings(max_concurrency=1), [watcher]) as runner:
        stuck = runner.submit(stubborn)
        assert await watcher.until("timed_out") == [stuck]
        runner.submit(gate.hold)
        assert runner.snapshot().queued == 1
        go_on.set()
        await gate.holds(1)
        gate.open()
    assert watcher.ids("retried") == []


async def test_an_async_task_is_cancelled_by_its_timeout(gate: Gate, watcher: Watcher) -> None:
    async with TaskRunner(TaskSettings(), [watcher]) as runner:
        runner.options(timeout=0.01).submit(gate.hold)
        await watcher.until("timed_out")
    assert (gate.inside, gate.left) == (0, [])


# Failures and observers.


async def test_an_exception_is_logged_and_other_tasks_go_on(
    watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    async with TaskRunner(TaskSettings(), [watcher, LoggingObserver()]) as runner:
        failed, done = runner.submit(fail), runner.submit(print)
    assert (watcher.ids("failed"), watcher.ids("succeeded")) == ([failed], [done])
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (record.getMessage(), vars(record)["task_id"]) == ("task failed", failed)
    assert record.exc_info is not None
    assert record.exc_info[0] is ConnectionError


async def test_a_failed_task_runs_again_only_if_it_has_a_retry(watcher: Watcher) -> None:
    ids = []

    async def fail_at_first() -> None:
        info = current_task()
        assert info is not None
        ids.append(info.id)
        if info.attempt == 1:
            raise ConnectionError

    async with TaskRunner(TaskSettings(), [watcher]) as runner:
        once = runner.submit(fail_at_first)
        await watcher.until("failed")
        twice = runner.options(retry=Retry(attempts=3, delay=0)).submit(fail_at_first)
    assert ids == [once, twice, twice]  # both attempts have the same id
    assert watcher.ids("succeeded") == [twice]


async def test_a_snoozed_task_runs_again_in_the_same_attempt(watcher: Watcher) -> None:
    waits = [Snooze(0.01), Snooze(0)]

    async def call_a_busy_service() -> None:
        report_progress(len(waits), total=2, note="calls left")
        if waits:
            raise waits.pop()

    async with TaskRunner(TaskSettings(), [watcher]) as runner:
        runner.submit(call_a_busy_service)
        await watcher.until("succeeded")
    assert watcher.attempts("started") == [1, 1, 1]
    assert watcher.errors == [None] * len(watcher.events)
    assert watcher.progress == Progress(0, total=2, note="calls left")


async def test_observers_see_every_event_and_a_broken_one_does_no_harm(
    watcher: Watcher, gate: Gate
) -> None:
    class Broken(TaskObserver):
        def started(self, _: object) -> None:
            raise ZeroDivisionError

    settings = TaskSettings(max_concurrency=1, queue_size=1)
    async with TaskRunner(settings, [Broken(), watcher]) as runner:
        runner.submit(gate.hold)
        runner.cancel(runner.options(delay=60).submit(print))
        runner.options(retry=Retry(attempts=2, delay=0)).submit(fail)
        with pytest.raises(Exception, match="the task queue is full"):
            runner.submit(print)
        gate.open()
        await runner.join(5)
        runner.options(timeout=0.01).submit(asyncio.Event().wait)
    assert {event for event, *_ in watcher.events} == {
        *("queued", "started", "retried", "succeeded", "failed"),
        *("timed_out", "cancelled", "rejected"),
    }


async def test_a_shutdown_waits_for_tasks_and_logs_which_ones_it_cancels(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    def open_gate(_: logging.LogRecord) -> bool:
        gate.open()
        return True

    async with TaskRunner(TaskSettings()) as patient:
        patient.submit(gate.hold)
        await gate.holds(1)
        caplog.set_level(logging.INFO)
        caplog.handler.addFilter(open_gate)  # at the first line, which announces the shutdown
    assert len(gate.left) == 1
    assert "the shutdown waits for 1 tasks, 20 seconds at most" in caplog.text

    began = time.monotonic()
    async with TaskRunner(TaskSettings(drain_timeout=60)) as waiting:
        later = waiting.options(delay=61).submit(gate.hold)  # the shutdown does not wait for it
    assert later in caplog.text
    assert time.monotonic() - began < 30

    async with TaskRunner(TaskSettings(drain_timeout=0)) as hasty:
        task_id = hasty.submit(asyncio.Event().wait)
    assert f"1 tasks were cancelled by the shutdown: Event.wait ({task_id})" in caplog.text


# Arguments and options.


async def test_arguments_of_a_task_must_be_data_of_limited_size() -> None:
    received: list[UUID] = []

    @task
    async def receive(number: UUID) -> None:
        received.append(number)

    @task
    async def store(text: str) -> None: ...

    number = UUID(int=1)
    async with TaskRunner(TaskSettings()) as runner:
        runner.submit(receive, number)
        with pytest.raises(ArgumentError, match="number"):
            runner.submit(receive, object())  # type: ignore[call-overload]
        with pytest.raises(ArgumentError, match="the limit is 1,000,000"):
            runner.submit(store, "x" * 1_000_001)
        runner.submit(received.append, number)  # other callables take anything
    assert received == [number, number]


async def test_an_operator_can_override_the_options_of_a_task(
    monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    @task(name="narrow", max_concurrency=5)
    async def narrow() -> None:
        await gate.hold()

    monkeypatch.setenv("TASKS_OVERRIDES", json.dumps({"narrow": {"max_concurrency": 1}}))
    async with TaskRunner(TaskSettings(), tasks=[narrow]) as runner:
        for _ in range(3):
            runner.submit(narrow)
        assert (runner.snapshot().running, runner.snapshot().queued) == (1, 2)
        gate.open()
    assert len(gate.left) == 3
    with pytest.raises(ValueError, match="TASKS_OVERRIDES: there is no task called narrow"):
        TaskRunner(TaskSettings(), tasks=[ship])


# Periodic tasks.


async def test_a_periodic_task_in_memory_is_submitted_at_each_tick(watcher: Watcher) -> None:
    @task(name="refresh", schedule=timedelta(seconds=1))
    async def refresh() -> None: ...

    async with TaskRunner(TaskSettings(), [watcher], tasks=[refresh]) as runner:
        (shown,) = runner.types()
        assert (shown.name, shown.schedule, shown.timezone) == ("refresh", "every 0:00:01", "UTC")
        await watcher.until("succeeded")


def test_a_schedule_follows_daylight_saving_time() -> None:
    @task(schedule="30 2 * * *", timezone="Europe/Berlin")
    async def digest() -> None: ...

    runs = next_runs(digest, datetime(2026, 3, 27, 12, tzinfo=UTC), 3)
    assert [f"{run:%d %H:%M %Z}" for run in runs] == [
        "28 02:30 CET",
        "29 03:00 CEST",
        "30 02:30 CEST",
    ]


def test_an_invalid_schedule_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="time zone"):
        task(schedule="0 9 * * *", timezone="Mars")(fail)
    with pytest.raises(ValueError, match="minute"):
        task(schedule="60 9 * * *")(fail)
