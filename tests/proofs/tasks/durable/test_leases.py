"""Leases: one process owns a task at a time, and another takes over when the lease ends."""

import asyncio
import threading
import time
from contextlib import AsyncExitStack

import pytest

from app.tasks import Retry, TaskState, task
from tests.tasks.gate import Gate

from .calls import Calls
from .world import LEASE, LONG, World, leave_effect


@task(durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


async def test_the_lease_is_renewed_while_a_task_runs(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long) as one, AsyncExitStack() as stack:
        renewals = Calls(monkeypatch, one.store, "renew")
        task_id = await one.submit(long)
        await gate.holds(1)
        other = await stack.enter_async_context(world.process(long))
        claims = Calls(monkeypatch, other.store, "claim_due")
        first = (await one.record(task_id)).started_at
        await renewals.more(9)  # takes longer than two leases
        await claims.more(1)
        assert first is not None
        assert time.time() - first > 2 * LEASE
        gate.open()
        await one.watcher.until("succeeded")
        assert (await one.record(task_id)).attempts == 1
        assert other.watcher.events == []


async def test_a_task_of_a_dead_process_is_claimed_when_its_lease_ends(world: World) -> None:
    end = time.time() + LEASE
    await world.insert(
        "dead", work.name, arguments='{"n": 1}', state="running", attempts=1,
        owner="gone", lease_until=end,
    )  # fmt: skip
    async with world.process(work) as process:
        await process.watcher.until("succeeded")
        record = await process.record("dead")
    assert record.attempts == 2
    assert record.started_at is not None
    assert record.started_at >= end


async def test_a_run_whose_task_has_ended_elsewhere_is_cancelled(world: World, gate: Gate) -> None:
    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long) as process:
        task_id = await process.submit(long)
        await gate.holds(1)
        await world.set(task_id, state="succeeded", finished_at=time.time(), owner=None)
        await process.watcher.until("cancelled")
        await process.assert_everything_is_released()
        record = await process.record(task_id)
    assert gate.left == []
    assert (record.state, record.attempts) == (TaskState.SUCCEEDED, 1)


async def test_the_first_of_two_runs_to_end_decides(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process was blocked for longer than its lease, and another has begun the task."""

    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long) as process:
        task_id = await process.submit(long)
        await gate.holds(1)
        await world.set(task_id, lease_until=time.time() + 3600, owner="another", attempts=2)
        await Calls(monkeypatch, process.store, "renew").more(2)
        assert process.watcher.ids("cancelled") == []
        gate.open()
        await process.watcher.until("succeeded")
        await process.assert_everything_is_released()
        record = await process.record(task_id)
    assert record.state is TaskState.SUCCEEDED


async def test_processes_blocked_longer_than_a_lease_do_not_make_a_task_dead(world: World) -> None:
    """Every run blocks its process for longer than the lease, and succeeds."""

    @task(durable=True)
    async def blocks(n: int) -> None:
        time.sleep(1.5 * LEASE)  # noqa: ASYNC251 - the blocked loop is what is being proven
        await leave_effect(n)

    async with (
        world.process(blocks, crash_attempts=2) as one,
        world.process(blocks, crash_attempts=2) as other,
    ):
        task_id = await one.submit(blocks, 1)
        await asyncio.wait(
            [asyncio.create_task(process.watcher.until("succeeded")) for process in (one, other)],
            return_when=asyncio.FIRST_COMPLETED,
        )
        record = await one.record(task_id)
    assert record.state is TaskState.SUCCEEDED


async def test_a_run_without_its_lease_does_not_requeue_its_task(world: World, gate: Gate) -> None:
    @task(durable=True, retry=Retry(delay=0))
    async def fails() -> None:
        await gate.hold()
        raise ValueError

    async with world.process(fails) as process:
        task_id = await process.submit(fails)
        await gate.holds(1)
        await world.set(task_id, lease_until=time.time() + 3600, owner="another")
        gate.open()
        await process.watcher.until("retried")
        await process.assert_everything_is_released()
        record = await process.record(task_id)
    assert record.state is TaskState.RUNNING


async def test_a_task_submitted_during_a_renewal_is_not_cancelled(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task(durable=True)
    async def long(n: int) -> None:
        await gate.hold(n)

    async with world.process(long) as process:
        renewals = Calls(monkeypatch, process.store, "renew")
        await process.submit(long, 0)
        await gate.holds(1)

        async def submit_another() -> None:
            renewals.after = None
            await process.submit(long, 1)

        renewals.after = submit_another
        await gate.holds(2)
        await renewals.more(2)
        assert process.watcher.ids("cancelled") == []
        gate.open()
        await process.watcher.until("succeeded", 2)


async def test_a_process_does_not_claim_a_task_that_it_runs(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ended because the database was away for longer, or because the clock was set."""

    @task(durable=True)
    async def long() -> None:
        await gate.hold()

    async with world.process(long, work) as process:

        async def refuse() -> None:
            raise OSError

        renewals = Calls(monkeypatch, process.store, "renew")
        task_id = await process.submit(long)
        await gate.holds(1)
        renewals.before = refuse
        await renewals.more(1)
        await world.set(task_id, lease_until=0.0)
        await world.insert("marker", work.name, arguments='{"n": 1}')
        await process.watcher.until("succeeded")
        assert len(process.watcher.ids("started")) == 2
        gate.open()
        await process.watcher.until("succeeded", 2)
        await process.assert_everything_is_released()


class TestSharing:
    """A process claims only tasks that can start, and leaves the rest to others."""

    async def test_an_idle_process_claims_tasks_that_a_busy_one_has_no_slot_for(
        self, world: World, gate: Gate
    ) -> None:
        @task(durable=True)
        async def held(n: int) -> None:
            await gate.hold(n)

        async with world.process(held, max_concurrency=1) as busy:
            await busy.submit(held, 0)
            await gate.holds(1)
            async with world.process(held) as idle:
                for n in range(1, 4):
                    await busy.submit(held, n)
                await gate.holds(4)
                assert len(idle.watcher.ids("started")) == 3
                gate.open()

    async def test_sync_tasks_stay_in_the_table_until_a_thread_is_free(self, world: World) -> None:
        end = threading.Event()

        @task(durable=True)
        def one() -> None:
            end.wait(30)

        @task(durable=True)
        def other() -> None:
            end.wait(30)

        await world.insert("row-1", one.name)
        await world.insert("row-2", other.name)
        async with world.process(one, other, max_threads=1) as process:
            assert process.runner._poller is not None
            await process.runner._poller.loop.stepped.wait()
            states = sorted(world.states)
            end.set()
            await process.watcher.until("succeeded", 2)
        assert states == ["queued", "running"]

    async def test_tasks_over_their_rate_limit_stay_in_the_table(self, world: World) -> None:
        @task(durable=True, rate_limit="2/hour")
        async def rare() -> None:
            """Count towards the rate limit."""

        for n in range(5):
            await world.insert(f"row-{n}", rare.name)
        async with world.process(rare, work) as process:
            await process.watcher.until("succeeded", 2)
            await process.submit(work, 1)
            await process.watcher.until("succeeded", 3)
            assert len(process.watcher.ids("queued")) == 3
        assert world.states.count("queued") == 3

    async def test_tasks_start_as_soon_as_their_rate_limit_allows(self, world: World) -> None:
        @task(durable=True, rate_limit="5/second")
        async def frequent() -> None:
            """Count towards the rate limit."""

        for n in range(12):
            await world.insert(f"row-{n}", frequent.name)
        start = time.monotonic()
        async with world.process(frequent, sweep_interval=60, lease=60) as process:
            await process.watcher.until("succeeded", 12)
        assert 2 <= time.monotonic() - start < 15  # a poll comes only after 60 s

    async def test_in_memory_tasks_starve_no_durable_ones(self, world: World, gate: Gate) -> None:
        @task(durable=True)
        async def pass_gate(n: int) -> None:
            await gate.hold(n)

        @task(durable=True, retry=Retry(attempts=2, delay=3600.0, max_delay=3600.0))
        async def fail() -> None:
            raise ValueError

        gate.open()
        async with world.process(pass_gate, fail, max_concurrency=1) as process:
            over = False
            retried = await process.submit(fail)  # its retry waits in the table
            await process.watcher.until("retried")

            async def flood() -> None:
                if not over:
                    process.runner.submit(flood)
                    await asyncio.sleep(0)  # let other tasks run

            for _ in range(3):
                process.runner.submit(flood)
            for n in range(3):
                await process.submit(pass_gate, n)
            await gate.holds(3)
            over = True
            await process.runner.cancel_anywhere(retried)
            await process.assert_everything_is_released()
        assert gate.left == [0, 1, 2]


async def test_a_key_used_again_during_a_renewal_is_not_cancelled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the renewal began, the previous run still held the same id."""
    first, second = Gate(), Gate()

    @task(durable=True)
    async def held(n: int) -> None:
        await (first if n == 1 else second).hold()

    async with world.process(held, lease=60.0) as process:
        durable = process.runner._durable
        assert durable is not None
        renewals = Calls(monkeypatch, process.store, "renew")
        await process.submit(held, 1, key="same")
        await first.holds(1)

        async def end_first() -> None:
            first.open()
            await process.watcher.until("succeeded")

        async def submit_again() -> None:
            await process.submit(held, 2, key="same")
            await second.holds(1)

        renewals.before, renewals.after = end_first, submit_again
        await durable._leases._renew()
        second.open()
        await process.watcher.until("succeeded", 2)
        assert process.watcher.ids("cancelled") == []


async def test_a_thread_keeps_its_slot_when_a_renewal_sees_the_timeout_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal runs after the timeout is in the table and before this process ends the run."""
    over = threading.Event()

    @task(durable=True, timeout=0.1)
    def slow() -> None:
        over.wait(60)

    async with world.process(slow, lease=LONG, max_concurrency=5) as process:
        assert process.runner._durable is not None
        assert process.runner._dispatcher is not None
        ends = Calls(monkeypatch, process.runner._durable.recorder, "_fail")
        ends.after = process.runner._durable._leases._renew
        await process.submit(slow)
        await process.watcher.until("timed_out")
        assert process.runner._dispatcher.free_slots == 4
        over.set()
