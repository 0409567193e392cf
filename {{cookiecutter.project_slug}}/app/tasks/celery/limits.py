"""Limits of tasks, counted across all workers."""

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import chain
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..job import Job
from ..loop import Loop
from ..redaction import describe_error
from ..task import Task

logger = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds until a task that could not start is tried again, e.g. when its limits cannot be read."""
_RETRY_AFTER = 100
"""Milliseconds until a task that found no slot tries again, if it is the only one."""

# A limit is a sorted set of the slots or starts that count against it. Each has as its score the
# time at which it stops counting: milliseconds of Redis's clock, since workers' clocks may differ.
#
# KEYS: limits. ARGV: an id to add to each, then for each limit its size, for how long an id counts,
# and after how long a task that finds it reached tries again. Tasks try again one after the other:
# thousands at the same time would leave a worker no time for other tasks.
# Returns the milliseconds until another try; 0 if no limit is reached.
_ACQUIRE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, 0, now)
    redis.call('ZREM', key, ARGV[1])  -- already added if the answer to the first try was lost
    local over = redis.call('ZCARD', key) - ARGV[3 * i - 1]
    if over >= 0 then
        local free = redis.call('ZRANGE', key, over, over, 'WITHSCORES')[2]
        local last = redis.call('GET', 'next:' .. key) or 0
        local soonest = math.min(free, now + ARGV[3 * i + 1])
        -- Tries must be more frequent than starts may be.
        local gap = math.min(20, ARGV[3 * i] / ARGV[3 * i - 1] / 4)
        -- Five minutes later at most: the tasks that try before may all have been cancelled.
        local next = math.max(soonest, math.min(last + gap, soonest + 300000))
        redis.call('SET', 'next:' .. key, next, 'PX', math.ceil(next - now))
        return next - now
    end
end
for i, key in ipairs(KEYS) do
    redis.call('ZADD', key, now + ARGV[3 * i], ARGV[1])
    redis.call('PEXPIRE', key, ARGV[3 * i])
end
return 0
"""


class WorkerLimits:
    """`max_concurrency` and `rate_limit` on workers: counted in Redis, else by each worker alone.

    A slot counts for one lease, which is renewed while the run lasts: the slots of a killed worker
    are free after a lease. A start counts for the period of the rate. `prefix` separates the
    services that share a Redis.
    """

    def __init__(self, redis: Redis | None, prefix: str, lease: float) -> None:
        self._redis = redis
        self._prefix = prefix
        self._lease = _milliseconds(lease)
        self._slots: dict[str, str] = {}
        """The limit of each slot that is in use in this process."""
        self._renewal = Loop("renewing the slots of limits", self._renew_slots, lease / 4)

    def start(self) -> None:
        """Start to renew the slots of this process."""
        self._renewing = asyncio.create_task(self._renewal.run())

    def close(self) -> None:
        """Stop renewing slots."""
        self._renewing.cancel()

    @asynccontextmanager
    async def slot(self, job: Job) -> AsyncIterator[float]:
        """Hold a slot in the block and yield 0, or yield the seconds until another try."""
        slot, group = os.urandom(8).hex(), job.limit_group or job.name
        if self._redis is not None:
            job.limit_group = None  # so that this process does not count it as well
        try:
            pause = await self.acquire(slot, job.task, group)
        except (OSError, RedisError) as error:
            why = describe_error(error)
            logger.warning("the limits of task %s cannot be read: %s", job.name, why)
            pause = PAUSE
        try:
            yield pause
        finally:
            await self.release(slot)

    async def acquire(self, slot: str, task: Task[..., Any], group: str) -> float:
        """Acquire a slot of a limit group; return 0, or the seconds until another try.

        If it raises, a slot that Redis may have counted is free after a lease.
        """
        running = f"task-slots:{self._prefix}:{group}"
        limits: dict[str, tuple[int, ...]] = {}
        if task.max_concurrency is not None:
            limits[running] = (task.max_concurrency, self._lease, _RETRY_AFTER)
        if task.rate is not None:
            period = _milliseconds(task.rate.period)
            started = f"task-starts:{self._prefix}:{task.rate.period:g}:{group}"
            limits[started] = (task.rate.count, period, period)
        if self._redis is None or not limits:
            return 0.0
        values: list[str | int] = [slot, *chain.from_iterable(limits.values())]
        pause = await self._redis.eval(_ACQUIRE, len(limits), *limits, *values)
        if not pause and running in limits:
            self._slots[slot] = running
        return float(pause) / 1000

    async def release(self, slot: str) -> None:
        """Free a slot; if Redis does not answer, it is free after a lease."""
        limit = self._slots.pop(slot, None)
        if self._redis is not None and limit is not None:
            with suppress(RedisError):
                await self._redis.zrem(limit, slot)

    async def _renew_slots(self) -> None:
        if self._redis is None or not self._slots:
            return
        seconds, microseconds = await self._redis.time()
        until = seconds * 1000 + microseconds // 1000 + self._lease
        async with self._redis.pipeline() as pipe:
            for slot, limit in self._slots.items():
                pipe.zadd(limit, {slot: until}, xx=True)
                pipe.pexpire(limit, self._lease)
            await pipe.execute()


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)
