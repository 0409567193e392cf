"""Limits of tasks that hold across all workers."""

import asyncio
import math
import os
import random
from contextlib import suppress
from itertools import chain
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..loop import Loop
from ..task import Task

_LONGEST_PAUSE = 1.0
"""Seconds until a task that found no slot asks again."""

# A limit is a sorted set of what counts against it, each with the time at which it no longer does:
# in milliseconds, by the clock of Redis, so that those of the workers need not agree.
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# KEYS: limits. ARGV: what is to count, and for each limit how much may count, and for how long.
# Returns which limit is reached, and the milliseconds until it is not; 0 and 0 if none is.
_ACQUIRE = (
    _NOW
    + """
for i, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, 0, now)
    redis.call('ZREM', key, ARGV[1])  -- it is there if the answer to the first try was lost
    local over = redis.call('ZCARD', key) - ARGV[2 * i]
    if over >= 0 then
        return {i, redis.call('ZRANGE', key, over, over, 'WITHSCORES')[2] - now}
    end
end
for i, key in ipairs(KEYS) do
    redis.call('ZADD', key, now + ARGV[2 * i + 1], ARGV[1])
    redis.call('PEXPIRE', key, ARGV[2 * i + 1])
end
return {0, 0}
"""
)
# KEYS: the limit of each slot. ARGV: for how long they count from now on, and the slots.
_RENEW = (
    _NOW
    + """
for i, key in ipairs(KEYS) do
    redis.call('ZADD', key, 'XX', now + ARGV[1], ARGV[i + 1])
    redis.call('PEXPIRE', key, ARGV[1])
end
"""
)


class SharedLimits:
    """`max_concurrency` and `rate_limit`, counted in Redis.

    A slot counts for a lease, and is renewed while its run lasts: a worker that is killed loses its
    slots when that ends. A start counts for the period of the rate. Services that share a Redis are
    told apart by `prefix`.
    """

    def __init__(self, url: str, prefix: str, lease: float) -> None:
        self._prefix = prefix
        self._lease = _milliseconds(lease)
        self._redis: Redis = Redis.from_url(url)
        self._acquire = self._redis.register_script(_ACQUIRE)
        self._renew = self._redis.register_script(_RENEW)
        self._slots: dict[str, str] = {}
        """The slots that are in use here, and the limit of each."""
        self._renewal = Loop("the renewal of slots", self._renew_slots, lease / 4)

    def start(self) -> None:
        """Begin to renew the slots that will be acquired."""
        self._renewing = asyncio.create_task(self._renewal.run())

    async def acquire(self, task: Task[..., Any], group: str) -> str | float:
        """Return a slot of a limit group, to be released, or the seconds until another try.

        If it raises, a slot that it may have got is free after a lease.
        """
        slot, running = os.urandom(8).hex(), f"task-slots:{self._prefix}:{group}"
        limits: dict[str, tuple[int, int]] = {}
        if task.max_concurrency is not None:
            limits[running] = (task.max_concurrency, self._lease)
        if task.rate is not None:
            started = f"task-starts:{self._prefix}:{task.rate.period:g}:{group}"
            limits[started] = (task.rate.count, _milliseconds(task.rate.period))
        if not limits:
            return slot
        values = chain.from_iterable(limits.values())
        reached, pause = await self._acquire([*limits], [slot, *values])
        if reached and [*limits][reached - 1] == running:
            return random.uniform(0.1, _LONGEST_PAUSE)  # noqa: S311 - not a secret
        if reached:
            return float(pause) / 1000
        if running in limits:
            self._slots[slot] = running
        return slot

    async def release(self, slot: str) -> None:
        """Let another run begin. If that fails, the slot is free after a lease."""
        limit = self._slots.pop(slot, None)
        if limit is not None:
            with suppress(RedisError):
                await self._redis.zrem(limit, slot)

    async def close(self) -> None:
        """Close the connections."""
        self._renewing.cancel()
        await self._redis.aclose()

    async def _renew_slots(self) -> None:
        if self._slots:
            await self._renew([*self._slots.values()], [self._lease, *self._slots])


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)
