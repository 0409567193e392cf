"""Limits that hold across workers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from app.tasks import Task, task
from app.tasks.celery.limits import SharedLimits
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


MakeLimits = Callable[[float], SharedLimits]


@pytest.fixture
async def make_limits(valkey: Valkey) -> AsyncIterator[MakeLimits]:
    """Return a function that makes what counts the limits on one worker; it takes the lease."""
    async with AsyncExitStack() as stack:

        def make(lease: float) -> SharedLimits:
            limits = SharedLimits(valkey.url, "tasks", lease)
            limits.start()
            stack.push_async_callback(limits.close)
            return limits

        yield make


@task(max_concurrency=1, rate_limit="1000000/day")
async def narrow() -> None:
    raise AssertionError


@task(max_concurrency=MANY)
async def wide() -> None:
    raise AssertionError


async def acquire(limits: SharedLimits) -> Any:
    """Ask for a slot until there is one."""
    give_up_at = time.monotonic() + SECONDS
    while isinstance(slot := await limits.acquire(narrow, "narrow"), float):
        assert time.monotonic() < give_up_at
    return slot


async def test_a_slot_is_kept_for_as_long_as_its_worker_lives(
    make_limits: MakeLimits, valkey: Valkey
) -> None:
    first, second = make_limits(2), make_limits(2)
    slot = await acquire(first)
    with valkey.client() as client:
        ((_, end),) = client.zrange("task-slots:tasks:narrow", 0, -1, withscores=True)
        await asyncio.to_thread(wait_until, lambda: client.time()[0] * 1000 > end)
    assert isinstance(await second.acquire(narrow, "narrow"), float)
    await first.release(slot)
    await acquire(second)
    await second.close()  # as if it were killed
    await acquire(first)


async def test_an_error_on_the_way_to_a_start_costs_no_slot(
    make_limits: MakeLimits, valkey: Valkey
) -> None:
    limits = make_limits(1)
    with valkey.client() as client:
        client.execute_command("ACL SETUSER", "default", "-evalsha")  # a part of what is asked
        try:
            with pytest.raises(RedisError):
                await limits.acquire(narrow, "narrow")
        finally:
            client.execute_command("ACL SETUSER", "default", "+@all")
    await acquire(limits)


async def test_many_start_at_once_and_each_costs_the_same_whatever_the_limit(
    make_limits: MakeLimits, valkey: Valkey
) -> None:
    limits = make_limits(20)
    slots = await asyncio.gather(*(limits.acquire(wide, "wide") for _ in range(MANY)))
    with valkey.client() as client:
        before = client.info("stats")["total_commands_processed"]
        assert isinstance(await limits.acquire(wide, "wide"), float)
        asked = client.info("stats")["total_commands_processed"] - before
    assert not any(isinstance(slot, float) for slot in slots)
    assert asked < MANY / 10


@pytest.mark.parametrize(
    ("limited_task", "first"),
    [
        (task(max_concurrency=1)(narrow.func), 0.1),
        (task(rate_limit="1/minute")(narrow.func), 60),
        (task(rate_limit="1/hour")(narrow.func), 3600),
    ],
)
async def test_many_over_a_limit_ask_again_one_after_the_other(
    limited_task: Task[..., Any], first: float, make_limits: MakeLimits
) -> None:
    limits, began = make_limits(60), time.monotonic()
    await limits.acquire(limited_task, "any")
    pauses: list[Any] = [await limits.acquire(limited_task, "any") for _ in range(MANY)]
    took = time.monotonic() - began
    assert first - took <= pauses[0] <= first
    assert pauses[-1] - pauses[0] == pytest.approx((MANY - 1) * 0.02, abs=took + 0.1)
