"""Limits of durable tasks hold across all processes of a database."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from app.tasks import Retry, Snooze, Task, task
from app.tasks.durable.limits import DurableLimits
from tests.tasks.gate import Gate
from tests.tasks.watcher import Watcher

from .calls import Calls
from .world import LONG, World, leave_effect

STARTED = "SELECT started_at FROM background_tasks WHERE id = 'row-' || CAST(:n AS TEXT)"


@asynccontextmanager
async def four_processes(
    world: World, *tasks: Task[..., Any], **settings: Any
) -> AsyncIterator[Watcher]:
    """Start four processes, and yield one watcher of them all."""
    watcher = Watcher()
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(
                world.process(*tasks, watcher=watcher, lease=60, **settings)
            )
        yield watcher


async def test_max_concurrency_holds_across_processes(world: World) -> None:
    inside = most = 0

    @task(durable=True, max_concurrency=2)
    async def narrow(n: int) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await leave_effect(n)
        inside -= 1

    world.fill(narrow.name, 24)
    async with four_processes(world, narrow) as watcher:
        await watcher.until("succeeded", 24)
    assert most == 2
    assert sorted(world.effects) == list(range(24))


async def test_max_concurrency_holds_beside_a_rate_with_starts_and_no_runs(
    world: World, gate: Gate
) -> None:
    @task(name="charge", durable=True, max_concurrency=2, rate_limit="100/hour")
    async def charge(n: int) -> None:
        await gate.hold(n)

    into = "INSERT INTO background_task_starts (task_id, name, limit_group, started_at)"
    world.run(f"{into} VALUES ('old', 'charge', 'charge', :now)", now=time.time() - 60)
    world.fill(charge.name, 9)
    async with world.process(charge, lease=LONG) as process:
        await gate.holds(2)
        gate.open()
        await process.runner.join(10)
    assert (len(gate.left), gate.most_inside) == (9, 2)


async def test_one_claim_fills_the_slots_behind_tasks_over_their_limits(world: World) -> None:
    """A claim for each group would start them so slowly that tasks behind many groups wait."""

    @task(name="export", durable=True, max_concurrency=1, per="n")
    async def export(n: int) -> None: ...

    world.fill(export.name, 600)
    world.run("UPDATE background_tasks SET position = CAST(SUBSTR(id, 5) AS INTEGER)")
    world.run("UPDATE background_tasks SET limit_group = CAST(FLOOR(position / 100) AS TEXT)")
    async with world.process(export, claim="none") as process:
        limits = DurableLimits({export.name: export}, math.inf)
        claim = await process.store.claim_due([export.name], 20, [], limits)
    assert [int(record.id[4:]) for record in claim.tasks] == [0, 100, 200, 300, 400, 500]
    assert (claim.more, claim.locked) == (True, set())


async def test_the_rate_limit_holds_in_every_window_across_processes(world: World) -> None:
    """Starts of retries and snoozes count as well."""
    starts: list[float] = []  # by the clock of the claims: a busy machine may begin late
    errors = [ValueError(), Snooze(0), ValueError()]

    @task(durable=True, rate_limit="5/second", retry=Retry(attempts=9, delay=0))
    async def rare(n: int) -> None:
        starts.extend(await asyncio.to_thread(world.run, STARTED, n=n))
        if errors:
            raise errors.pop()

    world.fill(rare.name, 9, created_at=time.time())
    async with four_processes(world, rare, sweep_interval=0.5) as watcher:
        await watcher.until("succeeded", 9)
    starts.sort()
    assert len(starts) == 12
    assert all(sixth - first > 0.999 for first, sixth in zip(starts, starts[5:], strict=False))
    assert starts[-1] - starts[0] < 10
    assert len(world.run("SELECT task_id FROM background_task_starts")) <= 10


async def test_a_limit_per_parameter_value_holds_across_processes(world: World, gate: Gate) -> None:
    @task(durable=True, max_concurrency=1, per="tenant")
    async def export(tenant: str, n: int = 0) -> None:
        await gate.hold((tenant, n))

    async with world.process(export, lease=LONG) as one, world.process(export, lease=LONG) as two:
        for n in range(30):
            await one.submit(export, "loud", n)
        await one.submit(export, "quiet")
        await two.submit(export, "quiet", 1)
        await gate.holds(2)
        await Calls(pytest.MonkeyPatch(), two.store, "claim_due").more(2)
        assert sorted(gate.entered) == [("loud", 0), ("quiet", 0)]
        gate.open()
        await one.runner.join(30)
        await two.runner.join(30)
    assert len(gate.left) == 32
    assert gate.most_inside == 2


async def test_many_throttled_tasks_do_not_block_others(world: World, gate: Gate) -> None:
    """However many there are, their rows must not fill a claim."""

    @task(durable=True, max_concurrency=1)
    async def narrow(n: int) -> None:
        await gate.hold(n)

    @task(durable=True)
    async def free(n: int) -> None:
        await leave_effect(n)

    async with world.process(narrow, free, max_concurrency=2, drain_timeout=0.05) as process:
        await process.submit(narrow, -1)
        await gate.holds(1)
        await asyncio.to_thread(world.fill, narrow.name, 1000)
        await process.submit(free, 7)
        await process.watcher.until("succeeded")
        assert world.effects == [7]
        assert gate.entered == [-1]


async def test_a_dead_process_holds_its_slot_until_its_lease_ends(world: World, gate: Gate) -> None:
    @task(durable=True, max_concurrency=1)
    async def narrow(n: int) -> None:
        await gate.hold(n)

    gate.open()
    gone = {"owner": "gone", "state": "running", "attempts": 1}
    await world.insert("lost", narrow.name, arguments='{"n": 0}', **gone)
    lease_until = time.time() + 1
    await world.set("lost", lease_until=lease_until)
    async with world.process(narrow) as process:
        await process.submit(narrow, 1)
        await process.watcher.until("succeeded", 2)
    assert min(world.run("SELECT started_at FROM background_tasks")) >= lease_until
    assert sorted(gate.left) == [0, 1]  # the lease may end between two statements of a claim


async def test_any_number_of_limit_groups_may_be_full(world: World) -> None:
    """More groups than a statement can have parameters, which are 65,535 on PostgreSQL."""

    @task(durable=True, rate_limit="1/day", per="n")
    async def rare(n: int) -> None:
        await leave_effect(n)

    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70000)"
    columns = "task_id, name, limit_group, started_at"
    select = "SELECT 'x' || i, :name, 'full ' || i, :then FROM n"
    start = f"{numbers} INSERT INTO background_task_starts ({columns}) {select}"
    await asyncio.to_thread(world.run, start, name=rare.name, then=time.time())
    await world.insert("held", rare.name, limit_group="full 7", arguments='{"n": 7}')
    async with world.process(rare, lease=240) as process:
        await process.submit(rare, 1)
        await process.watcher.until("succeeded")
        assert (await process.record("held")).state == "queued"
    assert world.effects == [1]


async def test_starts_in_the_future_do_not_count_towards_a_rate_limit(world: World) -> None:
    """They come from a time before the clock was set back."""

    @task(durable=True, rate_limit="1/minute")
    async def rare(n: int) -> None:
        await leave_effect(n)

    columns = "task_id, name, limit_group, started_at"
    into = f"INSERT INTO background_task_starts ({columns}) VALUES ('x', :name, :name, :then)"  # noqa: S608 - fixed names
    await asyncio.to_thread(world.run, into, name=rare.name, then=time.time() + 3600)
    async with world.process(rare) as process:
        await process.submit(rare, 1)
        await process.watcher.until("succeeded")
    assert len(world.run("SELECT task_id FROM background_task_starts")) == 1


def test_per_must_name_a_parameter() -> None:
    async def export(tenant: str) -> None: ...

    for options in ({"per": "tenant"}, {"per": "other", "max_concurrency": 1}):
        with pytest.raises(ValueError, match="must name a parameter"):
            task(**options)(export)


async def test_a_free_slot_is_used_at_once(world: World) -> None:
    @task(durable=True, max_concurrency=1)
    async def narrow(n: int) -> None:
        await leave_effect(n)

    world.fill(narrow.name, 20)
    async with world.process(narrow, sweep_interval=60, lease=240) as process:  # rare polls
        await process.watcher.until("succeeded", 20)
    assert world.effects == list(range(20))
