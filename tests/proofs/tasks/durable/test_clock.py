"""The clock: all processes use that of a database server, and setting it back stops nothing."""

import logging
import time

import pytest

from app.tasks import task

from .calls import Calls
from .world import LEASE, World, leave_effect

HOUR = 3600.0


@task(durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


async def test_a_task_without_a_delay_is_due_after_the_clock_was_set_back(world: World) -> None:
    now = time.time() + HOUR
    await world.insert("it", work.name, arguments='{"n": 1}', created_at=now, due_at=now)
    await world.insert("later", work.name, arguments='{"n": 2}', created_at=now, due_at=now + 60)
    async with world.process(work) as process:
        assert await process.watcher.until("succeeded") == ["it"]
        await process.assert_everything_is_released()
    assert world.effects == [1]


async def test_a_lease_that_ends_too_far_in_the_future_is_void(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Its process has died, and its clock was an hour fast when it took the lease."""
    await world.insert(
        "it", work.name, arguments='{"n": 1}', state="running", attempts=1,
        owner="gone", lease_until=time.time() + HOUR,
    )  # fmt: skip
    began = time.monotonic()
    async with world.process(work) as process:
        await process.watcher.until("succeeded")
    assert time.monotonic() - began > LEASE  # by then a live process would have renewed it
    assert "voided 1 leases" in caplog.text
    assert world.effects == [1]


async def test_a_long_lease_that_is_renewed_is_not_void(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its process is alive and has a longer TASKS_LEASE."""
    end = time.time() + HOUR
    await world.insert("it", work.name, state="running", owner="another", lease_until=end)
    async with world.process(work) as process:
        steps = Calls(monkeypatch, process.store, "leases_too_long")
        for n in range(1, 7):  # takes longer than a lease
            await steps.more(1)
            await world.set("it", lease_until=end + n)
        assert process.watcher.events == []
    assert "voided" not in caplog.text


async def test_times_come_from_the_database_server_and_not_from_this_machine(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not world.url.startswith("postgresql"):
        pytest.skip("there is no server")
    caplog.set_level(logging.WARNING)
    async with world.process(work) as process:
        monkeypatch.setattr(time, "time", lambda: 1000.0)
        task_id = await process.submit(work, 1)
        await process.watcher.until("succeeded")
        monkeypatch.undo()
        record = await process.record(task_id)
    assert abs(record.created_at - time.time()) < 60
    assert record.finished_at is not None
    assert abs(record.finished_at - time.time()) < 60
