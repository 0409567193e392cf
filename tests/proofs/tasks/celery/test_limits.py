"""Limits that hold across workers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from app.tasks import Task, task
from app.tasks.celery.limits import WorkerLimits
from waiting import wait_until

from .application import limited, publishing, rated
from .brokers import Valkey
from .journal import SECONDS, Journal
from .workers import WorkerProcess

RATED = 5
MANY = 200


async def test_two_workers_share_the_limits_of_a_task(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    def worker() -> WorkerProcess:
        return WorkerProcess(tmp_path, journal, CELERY_BROKER_URL=valkey.url, DATABASE_URL=shipping)

    with worker() as first, worker() as second:
        first.wait_until_ready()
        second.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            begin = time.monotonic()
            for _ in range(RATED):
                runner.submit(rated)
            await journal.until("ran", RATED, name="rated")
            assert journal.all_of("ran", "at")[-1] - begin > 1.9  # two in a second
            count = 0
            while {e["pid"] for e in journal.entries("began")} != {first.pid, second.pid}:
                for _ in range(8):
                    runner.submit(limited)
                count += 8
                await journal.until("ended", count)
    steps = [e["event"] for e in journal._entries if e["event"] in {"began", "ended"}]
    assert steps == ["began", "ended"] * count


MakeLimits = Callable[[float], WorkerLimits]


@pytest.fixture
async def make_limits(valkey: Valkey) -> AsyncIterator[MakeLimits]:
    """Return a function that makes the limits of one worker, with a lease in seconds."""
    async with AsyncExitStack() as stack:

        def make(lease: float) -> WorkerLimits:
            client = Redis.from_pool(BlockingConnectionPool.from_url(valkey.url))
            limits = WorkerLimits(client, "tasks", lease)
            limits.start()
            stack.push_async_callback(client.aclose)
            stack.callback(limits.close)
            return limits

        yield make


@task(max_concurrency=1, rate_limit="1000000/day")
async def narrow() -> None:
    raise AssertionError


@task(max_concurrency=MANY)
async def wide() -> None:
    raise AssertionError


async def acquire(limits: WorkerLimits, slot: str) -> None:
    """Ask for a slot until one is free."""
    give_up_at = time.monotonic() + SECONDS
    while await limits.acquire(slot, narrow, "narrow"):
        assert time.monotonic() < give_up_at


async def test_a_slot_is_held_for_as_long_as_its_worker_lives(
    make_limits: MakeLimits, valkey: Valkey
) -> None:
    first, second = make_limits(2), make_limits(2)
    await acquire(first, "1")
    with valkey.client() as client:
        ((_, end),) = client.zrange("task-slots:tasks:narrow", 0, -1, withscores=True)
        await asyncio.to_thread(wait_until, lambda: client.time()[0] * 1000 > end)
    assert await second.acquire("2", narrow, "narrow") > 0
    await first.release("1")
    await acquire(second, "2")
    second.close()  # stops renewing its lease, as if its worker had been killed
    await acquire(first, "3")


async def test_a_failed_acquire_takes_no_slot(make_limits: MakeLimits, valkey: Valkey) -> None:
    limits = make_limits(1)
    with valkey.client() as client:
        client.execute_command("ACL SETUSER", "default", "-eval")  # makes the script fail
        try:
            with pytest.raises(RedisError):
                await limits.acquire("1", narrow, "narrow")
        finally:
            client.execute_command("ACL SETUSER", "default", "+@all")
    await acquire(limits, "2")


async def test_acquiring_a_slot_costs_the_same_whatever_the_limit(
    make_limits: MakeLimits, valkey: Valkey
) -> None:
    limits = make_limits(20)
    acquiring = (limits.acquire(str(n), wide, "wide") for n in range(MANY))
    pauses = await asyncio.gather(*acquiring)
    with valkey.client() as client:
        before = client.info("stats")["total_commands_processed"]
        assert await limits.acquire("one more", wide, "wide") > 0
        asked = client.info("stats")["total_commands_processed"] - before
    assert not any(pauses)
    assert asked < MANY / 10


@pytest.mark.parametrize(
    ("limited_task", "first"),
    [
        (task(max_concurrency=1)(narrow.func), 0.1),
        (task(rate_limit="1/minute")(narrow.func), 60),
        (task(rate_limit="1/hour")(narrow.func), 3600),
    ],
)
async def test_tasks_over_a_limit_ask_again_one_after_the_other(
    limited_task: Task[..., Any], first: float, make_limits: MakeLimits
) -> None:
    limits, began = make_limits(60), time.monotonic()
    await limits.acquire("first", limited_task, "any")
    pauses = [await limits.acquire(str(n), limited_task, "any") for n in range(MANY)]
    took = time.monotonic() - began
    assert first - took <= pauses[0] <= first
    assert pauses[-1] - pauses[0] == pytest.approx((MANY - 1) * 0.02, abs=took + 0.1)
