"""The states of in-memory tasks on workers: kept in Redis for a while, for all processes."""

import asyncio
import logging
import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from time import monotonic, time
from typing import Any

from pydantic import TypeAdapter
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from ..errors import TaskNotAccepted
from ..info import TaskRecord, TaskState
from ..redaction import describe_error

logger = logging.getLogger(__name__)

_PREFIX = "task:"
_CANCELLED = "tasks-cancelled"
"""The ids of tasks that no worker may start, whatever their states say later, each with the time
until which it is kept."""
_FRESH, _AWAY = 0.1, 1.0
"""Seconds until a worker reads these ids again: after an answer of Redis, and without one."""
_MANY = 1000
"""Number of ids from which on reading all of them takes longer than asking for each task."""
_INTERVAL = 0.05
"""Seconds between two writes."""
_AS_JSON = TypeAdapter(TaskRecord)
"""Ignores fields that a newer release has added."""
_LARGE = {"arguments", "context", "traceback"}
"""Fields that are not kept, because each may have a million bytes."""


class StatesUnavailable(TaskNotAccepted):
    """The Redis with the states of tasks cannot be reached. Try again later.

    Until then in-memory tasks on workers can neither be described nor cancelled.
    """


class TaskStates:
    """The states of tasks on workers, by id; without a Redis none are kept."""

    def __init__(self, redis: Redis | None, expires: float) -> None:
        self._redis = redis
        self._expires = max(1, int(expires))
        self._waiting: dict[str, TaskRecord] = {}
        self._saving, self._reading = asyncio.Lock(), asyncio.Lock()
        self._cancelled: set[str] = set()
        """The ids of up to `_MANY` cancelled tasks, as this process has last read them."""
        self._read_at = 0.0
        """When it reads them again (`time.monotonic()`)."""

    async def save(self, records: Collection[TaskRecord], *, first: bool = False) -> None:
        """Write states; if they are the `first` of their tasks, overwrite no existing ones.

        While Redis is away, states are lost, and a warning is logged.
        """
        if self._redis is None or not records:
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for record in records:
                    self._set(pipe, record, first=first)
                await pipe.execute()
        except RedisError as error:
            why = describe_error(error)
            logger.warning("the states of %d tasks are not kept: %s", len(records), why)

    def note(self, record: TaskRecord) -> None:
        """Write the state of a task soon; of several states until then only the last is written."""
        if not self._waiting:
            self._writing = asyncio.create_task(self._flush_soon())
        self._waiting[record.id] = record

    async def flush(self) -> None:
        """Write the noted states now."""
        async with self._saving:  # without the lock an earlier state could overwrite a later one
            waiting, self._waiting = self._waiting, {}
            await self.save(waiting.values())

    async def get(self, task_id: str) -> TaskRecord | None:
        """Return the last state of a task, if it is kept; raises StatesUnavailable."""
        if self._redis is None:
            return None
        with _reaching_redis():
            return _read(await self._redis.get(_PREFIX + task_id))

    async def cancel(self, task_id: str, unsent: TaskRecord | None) -> bool:
        """Keep workers from starting a task that is queued; False if there is no such task.

        `unsent` is its state if Redis may not have one yet. Raises StatesUnavailable.
        """
        if self._redis is None:
            return False

        async def change(pipe: Any) -> bool:  # its `multi` has no types
            record = _read(await pipe.get(key)) or unsent
            pipe.multi()
            if record is None or record.state != TaskState.QUEUED:
                return False
            now = time()
            pipe.zremrangebyscore(_CANCELLED, 0, now)
            pipe.zadd(_CANCELLED, {task_id: now + self._seconds_kept(record)})
            self._set(pipe, replace(record, state=TaskState.CANCELLED, finished_at=now))
            return True

        key = _PREFIX + task_id
        with _reaching_redis():  # it starts over if a worker writes the state meanwhile
            return bool(await self._redis.transaction(change, key, value_from_callable=True))

    async def is_cancelled(self, task_id: str) -> bool:
        """Say whether a task that is about to start has been cancelled.

        The answer may be a tenth of a second old, and older while Redis is away.
        """
        if self._redis is None:
            return False
        async with self._reading:  # reading for each task would slow down all of them
            if monotonic() >= self._read_at:
                try:
                    unexpired = _CANCELLED, time(), math.inf, 0, _MANY
                    ids = await self._redis.zrangebyscore(*unexpired)
                    self._cancelled, pause = set(map(str, ids)), _FRESH
                except RedisError:
                    pause = _AWAY
                self._read_at = monotonic() + pause
        if len(self._cancelled) < _MANY or task_id in self._cancelled:
            return task_id in self._cancelled
        with suppress(RedisError):
            return await self._redis.zscore(_CANCELLED, task_id) is not None
        return False

    async def _flush_soon(self) -> None:
        await asyncio.sleep(_INTERVAL)
        await self.flush()

    def _set(self, pipe: Pipeline, record: TaskRecord, *, first: bool = False) -> None:
        text = _AS_JSON.dump_json(record, exclude=_LARGE)
        pipe.set(_PREFIX + record.id, text, ex=self._seconds_kept(record), nx=first)

    def _seconds_kept(self, record: TaskRecord) -> int:
        """Return the seconds for which a state is kept: from now, or from when its task is due."""
        return self._expires + max(0, int(record.due_at - time()))


def _read(text: Any) -> TaskRecord | None:
    return None if text is None else _AS_JSON.validate_json(text)


@contextmanager
def _reaching_redis() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise StatesUnavailable("the states of tasks cannot be reached") from error
