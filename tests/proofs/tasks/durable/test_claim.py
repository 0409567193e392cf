"""TASKS_CLAIM: which durable tasks a process runs, and what it does with the others."""

import asyncio

import pytest

from app.db import Database
from app.tasks import QueueFull, TaskRunner, TaskSettings, task

from .calls import Calls
from .test_wake_ups import SELDOM
from .world import World, leave_effect


@task(durable=True)
async def ours(n: int) -> None:
    await leave_effect(n)


@task(durable=True)
async def theirs(n: int) -> None:
    await leave_effect(n)


@pytest.mark.parametrize(("claim", "run"), [("all", [1, 2]), (" ours ,", [1]), ("none", [])])
async def test_a_process_runs_what_it_claims_and_joins_nothing_else(
    world: World, claim: str, run: list[int]
) -> None:
    async with world.process(ours, theirs, claim=claim) as process:
        await process.submit(ours, 1)
        await process.submit(theirs, 2)
        await process.assert_nothing_is_left()
    assert sorted(world.effects) == run


async def test_what_is_not_claimed_is_cancelled_and_retried(world: World) -> None:
    async with world.process(ours, theirs, claim="ours") as process:
        task_id = await process.submit(theirs, 2)
        assert await process.runner.cancel_anywhere(task_id)
        assert await process.runner.retry_durable(task_id)
        assert (await process.record(task_id)).state == "queued"
        async with world.process(theirs, claim="theirs") as other:
            assert await other.watcher.until("succeeded") == [task_id]


@pytest.mark.parametrize("claim", ["none", "theirs"])
async def test_what_is_not_claimed_fills_the_queue(world: World, claim: str) -> None:
    async with world.process(ours, theirs, claim=claim, queue_size=3, **SELDOM) as process:
        poller = process.runner._poller
        assert poller is not None
        for n in range(3):
            await process.submit(ours, n)
            for _ in range(2):  # one may have begun before
                poller.loop.wake()
                await poller.loop.next_step()
        with pytest.raises(QueueFull):
            await process.submit(ours, 3)


async def test_the_queue_is_not_full_of_what_others_have_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many may be added and run between two polls."""
    async with (
        world.process(ours) as other,
        world.process(ours, claim="none", queue_size=8, **SELDOM) as process,
    ):
        counts = Calls(monkeypatch, process.store, "backlog")

        async def add_two(n: int) -> None:
            await process.submit(ours, n)
            await process.submit(ours, n + 1)
            await other.watcher.until("succeeded", n + 2)

        for n in range(0, 30, 2):
            await asyncio.gather(counts.more(1), add_two(n))


def test_what_does_not_exist_cannot_be_claimed(world: World) -> None:
    settings = TaskSettings(claim="ours, unknown, theirs")
    with pytest.raises(ValueError, match="TASKS_CLAIM: there is no durable task called unknown"):
        TaskRunner(settings, tasks=[ours, theirs], sessions=Database(world.settings).session)


@pytest.mark.parametrize("claim", [" ", ", ,"])
def test_a_claim_that_names_nothing_is_a_mistake(claim: str) -> None:
    with pytest.raises(ValueError, match="claim"):
        TaskSettings(claim=claim)
