"""The poller is woken whenever a task may start: none waits for a poll beside a free slot."""

import asyncio
import math
import threading
from typing import Any

import pytest

from app.tasks import QueueFull, current_runner, task
from app.tasks.durable.store import TaskStore
from tests.tasks.gate import Gate

from .calls import Calls
from .world import RARE_POLLS, World


@task(durable=True)
async def work() -> None:
    """Do nothing."""


class HeldCalls:
    """Delays the calls of a method of the stores in this event loop until `release`.

    The method runs before the delay, or after it with `run_late`.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, name: str, *, run_late: bool = False
    ) -> None:
        method = getattr(TaskStore, name)
        self._called, self._released = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        async def call(store: TaskStore, *args: Any, **kwargs: Any) -> Any:
            if asyncio.get_running_loop() is not loop:  # a worker that other proofs left running
                return await method(store, *args, **kwargs)
            result = None if run_late else await method(store, *args, **kwargs)
            self._called.set()
            await self._released.wait()
            return await method(store, *args, **kwargs) if run_late else result

        monkeypatch.setattr(TaskStore, name, call)

    async def until_called(self) -> None:
        """Wait until a call is being delayed."""
        async with asyncio.timeout(10):
            await self._called.wait()

    def release(self) -> None:
        self._released.set()


async def test_a_delayed_task_added_while_the_backlog_is_read_runs_on_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = HeldCalls(monkeypatch, "backlog")
    async with world.process(work, **RARE_POLLS) as process:
        await answer.until_called()
        await process.submit(work, delay=0.2)
        answer.release()
        await process.watcher.until("succeeded")


@pytest.mark.parametrize("method", ["backlog", "claim_due"])
async def test_a_task_added_during_a_poll_runs_when_the_taken_slot_is_free(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async with world.process(work, **RARE_POLLS) as process:
        poller = process.runner._poller
        assert poller is not None
        await poller.loop.stepped.wait()
        answer = HeldCalls(monkeypatch, method)
        poller._durable._count_at = 0.0 if method == "backlog" else math.inf
        poller.loop.wake()
        await answer.until_called()
        process.runner.submit(gate.hold)
        await gate.holds(1)
        await process.submit(work)
        answer.release()
        await poller.loop.stepped.wait()
        gate.open()
        await process.watcher.until("succeeded", 2)


@pytest.mark.parametrize("counted", [True, False])
async def test_a_task_added_while_the_table_is_counted_counts_once(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch, *, counted: bool
) -> None:
    async with world.process(work, queue_size=3, **RARE_POLLS) as process:
        process.runner.submit(gate.hold)
        await gate.holds(1)
        poller = process.runner._poller
        assert poller is not None
        count = HeldCalls(monkeypatch, "backlog", run_late=counted)
        poller._durable._count_at = 0.0
        poller.loop.wake()
        await count.until_called()
        await process.submit(work)
        next_step = asyncio.create_task(poller.loop.stepped.wait())
        count.release()
        await next_step
        await process.submit(work)
        await process.submit(work)
        with pytest.raises(QueueFull):
            await process.submit(work)
        gate.open()
        await process.watcher.until("succeeded", 4)


async def test_a_task_that_becomes_due_while_the_backlog_is_read_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = HeldCalls(monkeypatch, "backlog")
    async with world.process(work, **RARE_POLLS) as process:
        await count.until_called()
        await world.insert("it", work.name)
        count.release()
        await process.watcher.until("succeeded")


async def test_join_waits_for_a_task_added_while_the_table_is_read(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task(durable=True)
    async def parent() -> None:
        current_runner().submit(gate.hold)

    async with world.process(parent) as process:
        answer = HeldCalls(monkeypatch, "has_work")
        joining = asyncio.create_task(process.runner.join(10))
        await answer.until_called()
        await process.submit(parent)
        await process.watcher.until("succeeded")
        await gate.holds(1)
        answer.release()
        done, _ = await asyncio.wait([joining], timeout=0.1)
        assert not done
        gate.open()
        await joining


async def test_join_waits_for_no_poll_after_the_last_task_ended_while_the_table_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.process(work, **RARE_POLLS | {"max_concurrency": 5}) as process:
        poller = process.runner._poller
        assert poller is not None
        for _ in range(2):  # the first step may have begun before
            poller.loop.wake()
            await poller.loop.stepped.wait()
        await world.insert("it", work.name)
        answer = HeldCalls(monkeypatch, "has_work")
        joining = asyncio.create_task(process.runner.join(10))
        await answer.until_called()
        poller.loop.wake()
        await process.watcher.until("succeeded")
        answer.release()
        await joining


async def test_a_task_starts_when_its_limit_is_free_again_during_a_claim(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task(durable=True, max_concurrency=1)
    async def narrow() -> None:
        await gate.hold()

    async with world.process(narrow, **RARE_POLLS | {"max_concurrency": 5}) as process:
        poller = process.runner._poller
        assert poller is not None
        await process.submit(narrow)
        await gate.holds(1)
        poller._durable._count_at = math.inf
        await world.insert("it", narrow.name)
        answer = HeldCalls(monkeypatch, "claim_due")
        poller.loop.wake()
        await answer.until_called()
        gate.open()
        await process.watcher.until("succeeded")
        answer.release()
        await process.watcher.until("succeeded", 2)


async def test_a_sync_task_starts_when_a_thread_is_free_again_during_a_claim(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()

    @task(durable=True)
    def slow() -> None:
        """Do nothing, in a thread."""

    def hold() -> None:
        end.wait(30)

    settings = RARE_POLLS | {"max_concurrency": 5, "max_threads": 1}
    async with world.process(work, slow, **settings) as process:
        poller = process.runner._poller
        assert poller is not None
        for _ in range(2):  # the first step may have begun before
            poller.loop.wake()
            await poller.loop.stepped.wait()
        process.runner.submit(hold)
        await process.watcher.until("started")
        answer = HeldCalls(monkeypatch, "claim_due")
        await process.submit(slow)
        await answer.until_called()
        end.set()
        await process.watcher.until("succeeded")
        answer.release()
        await process.watcher.until("succeeded", 2)


@pytest.mark.parametrize("end", ["timed_out", "cancelled"])
async def test_an_ended_run_frees_its_limit_before_its_thread_ends(world: World, end: str) -> None:
    over = threading.Event()

    @task(durable=True, max_concurrency=1, timeout=1.0 if end == "timed_out" else 60.0)
    def narrow() -> None:
        over.wait(60)

    async with world.process(narrow, **RARE_POLLS | {"max_concurrency": 5}) as process:
        first = await process.submit(narrow)
        await process.watcher.until("started")
        await process.submit(narrow)
        if end == "cancelled":
            await process.runner.cancel_anywhere(first)
        await process.watcher.until("started", 2)
        over.set()


async def test_ends_of_in_memory_tasks_cause_no_claims_when_nothing_can_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims of limited tasks wait for each other across all processes."""
    end = threading.Event()

    @task(durable=True, rate_limit="1/hour")
    async def rare() -> None:
        """Use up the rate limit."""

    @task(durable=True)
    def slow() -> None:
        end.wait(30)

    async def quick() -> None:
        """Do nothing, in memory."""

    for n in range(2):
        await world.insert(f"rare-{n}", rare.name)
        await world.insert(f"slow-{n}", slow.name)
    settings = RARE_POLLS | {"max_concurrency": 5, "max_threads": 1}
    async with world.process(rare, slow, **settings) as process:
        await process.watcher.until("started", 2)
        claims = Calls(monkeypatch, process.store, "claim_due")
        for n in range(20):
            process.runner.submit(quick)
            await process.watcher.until("succeeded", 2 + n)
            await process.store.time()  # gives the poller time for a claim
        assert claims.count < 5  # claims that began before, or when it began to listen
        end.set()
        await process.watcher.until("succeeded", 23)
