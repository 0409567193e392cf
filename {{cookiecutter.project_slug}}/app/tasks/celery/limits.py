"""Limits of tasks that hold across all workers."""

import asyncio
import random
import time
from contextlib import suppress
from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from ..task import Task

_LONGEST_PAUSE = 1.0
"""Seconds until a task that found no slot asks again."""


class SharedLimits:
    """`max_concurrency` and `rate_limit`, counted in Redis.

    A slot is a lock with a lease: a worker that is killed loses its slots when that ends.
    Services that share a Redis are told apart by `prefix`.
    """

    def __init__(self, url: str, prefix: str, lease: float) -> None:
        self._prefix = prefix
        self._lease = lease
        self._redis: Redis = Redis.from_url(url)
        storage = RedisStorage(f"async+{url}", implementation="redispy")
        self._rates = MovingWindowRateLimiter(storage)
        self._slots: set[Lock] = set()

    def start(self) -> None:
        """Begin to renew the slots that will be acquired."""
        self._renewing = asyncio.get_running_loop().create_task(self._renew_slots())

    async def acquire(self, task: Task[..., Any], group: str) -> Lock | float | None:
        """Return a slot of a limit group, None if the task needs none, or seconds until a retry."""
        slot: Lock | None = None
        if task.max_concurrency is not None:
            slot = await self._acquire_slot(group, task.max_concurrency)
            if slot is None:
                return random.uniform(0.1, _LONGEST_PAUSE)  # noqa: S311 - not a secret
        if task.rate is not None:
            rate = RateLimitItemPerSecond(task.rate.count, int(task.rate.period))
            if not await self._rates.hit(rate, self._prefix, group):
                await self.release(slot)
                reset, _ = await self._rates.get_window_stats(rate, self._prefix, group)
                return max(0.05, reset - time.time())
        return slot

    async def release(self, slot: Lock | None) -> None:
        """Let another run begin. If that fails, the slot is free after a lease."""
        if slot is not None:
            self._slots.discard(slot)
            with suppress(LockError, RedisError):
                await slot.release()

    async def close(self) -> None:
        """Close the connections."""
        self._renewing.cancel()
        await self._redis.aclose()

    async def _renew_slots(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 4)
            for slot in list(self._slots):
                with suppress(LockError, RedisError):
                    await slot.reacquire()

    async def _acquire_slot(self, group: str, count: int) -> Lock | None:
        for number in random.sample(range(count), count):
            lock = Lock(
                self._redis,
                f"task-slot:{self._prefix}:{group}:{number}",
                timeout=self._lease,
                blocking=False,
                thread_local=False,
            )
            if await lock.acquire():
                self._slots.add(lock)
                return lock
        return None
