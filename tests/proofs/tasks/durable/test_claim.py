"""TASKS_CLAIM: which durable tasks a process runs, and how it treats the others."""

import asyncio

import pytest

from app.db import Database
from app.tasks import QueueFull, TaskRunner, TaskSettings, task

from .calls import Calls
from .world import RARE_POLLS, World, leave_effect


@task(durable=True)
async def ours(n: int) -> None:
    await leave_effect(n)


@task(durable=True)
async def theirs(n: int) -> None:
    await leave_effect(n)


@pytest.mark.parametrize(("claim", "run"), [("all", [1, 2]), (" ours ,", [1]), ("none", [])])
async def test_a_process_runs_and_joins_only_tasks_that_it_claims(
    world: World, claim: str, run: list[int]
) -> None:
    async with world.process(ours, theirs, claim=claim) as process:
        await process.submit(ours, 1)
        await process.submit(theirs, 2)
        await process.assert_everything_is_released()
    assert sorted(world.effects) == run


async def test_a_process_can_cancel_and_retry_tasks_that_it_does_not_claim(world: World) -> None:
    async with world.process(ours, theirs, claim="ours") as process:
        task_id = await process.submit(theirs, 2)
        assert await process.runner.cancel_anywhere(task_id)
        assert await process.runner.retry_durable(task_id)
        assert (await process.record(task_id)).state == "queued"
        async with world.process(theirs, claim="theirs") as other:
            assert await other.watcher.until("succeeded") == [task_id]


@pytest.mark.parametrize("claim", ["none", "theirs"])
async def test_tasks_that_a_process_does_not_claim_fill_its_queue(world: World, claim: str) -> None:
    async with world.process(ours, theirs, claim=claim, queue_size=3, **RARE_POLLS) as process:
        poller = process.runner._poller
        assert poller is not None
        for n in range(3):
            await process.submit(ours, n)
            for _ in range(2):  # the first step may have begun before
                poller.loop.wake()
                await poller.loop.stepped.wait()
        with pytest.raises(QueueFull):
            await process.submit(ours, 3)


async def test_tasks_that_others_have_run_do_not_fill_the_queue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More tasks than the queue size are added and run between two polls of the process."""
    async with (
        world.process(ours) as other,
        world.process(ours, claim="none", queue_size=8, **RARE_POLLS) as process,
    ):
        counts = Calls(monkeypatch, process.store, "backlog")

        async def add_two(n: int) -> None:
            await process.submit(ours, n)
            await process.submit(ours, n + 1)
            await other.watcher.until("succeeded", n + 2)

        for n in range(0, 30, 2):
            await asyncio.gather(counts.more(1), add_two(n))


def test_claiming_an_unknown_task_is_refused(world: World) -> None:
    settings = TaskSettings(claim="ours, unknown, theirs")
    with pytest.raises(ValueError, match="TASKS_CLAIM: there is no durable task called unknown"):
        TaskRunner(settings, tasks=[ours, theirs], sessions=Database(world.settings).session)


@pytest.mark.parametrize("claim", [" ", ", ,"])
def test_a_claim_without_names_is_refused(claim: str) -> None:
    with pytest.raises(ValueError, match="claim"):
        TaskSettings(claim=claim)
