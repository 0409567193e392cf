"""What became of tasks: kept for a while in Redis, for every process to see."""

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
"""The ids of tasks that no worker is to begin, whatever their states say later; each with the time
until which it is kept."""
_FRESH, _AWAY = 0.1, 1.0
"""Seconds for which a worker does not ask again which these are, or Redis if it does not answer."""
_MANY = 1000
"""So many that to read them all would take longer than to ask for each task."""
_INTERVAL = 0.05
"""Seconds between two writes."""
_AS_JSON = TypeAdapter(TaskRecord)
"""What a newer release has added is left out."""
_LARGE = {"arguments", "context", "traceback"}
"""What is not kept: it may be a million bytes a task."""


class StatesUnavailable(TaskNotAccepted):
    """The Redis with the states of tasks cannot be reached. Try again later.

    Until then nobody can tell what has become of a task in memory, or cancel it.
    """


class TaskStates:
    """The states of tasks on workers, by id; none are kept without a Redis."""

    def __init__(self, redis: Redis | None, expires: float) -> None:
        self._redis = redis
        self._expires = max(1, int(expires))
        self._waiting: dict[str, TaskRecord] = {}
        self._saving, self._asking = asyncio.Lock(), asyncio.Lock()
        self._cancelled: set[str] = set()
        """The ids of `_MANY` that had been cancelled when this process last asked."""
        self._ask_at = 0.0
        """When it asks again (`time.monotonic()`)."""

    async def save(self, records: Collection[TaskRecord], *, first: bool = False) -> None:
        """Write states down, or leave what is known already if they are the `first` of their tasks.

        While Redis is away they are not kept, which the log says.
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
        """Write the state of a task soon: a short one begins and ends between two writes."""
        if not self._waiting:
            self._writing = asyncio.create_task(self._flush_soon())
        self._waiting[record.id] = record

    async def flush(self) -> None:
        """Write now what was noted."""
        async with self._saving:  # or an earlier state could be written after a later one
            waiting, self._waiting = self._waiting, {}
            await self.save(waiting.values())

    async def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task; raises StatesUnavailable."""
        if self._redis is None:
            return None
        with _reaching_redis():
            return _read(await self._redis.get(_PREFIX + task_id))

    async def cancel(self, task_id: str, unsent: TaskRecord | None) -> bool:
        """Let workers pass over a task that has not begun; False if there is no such task.

        `unsent` is what is known of one of which Redis may not know yet. Raises StatesUnavailable.
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
        with _reaching_redis():  # anew if a worker tells of the task meanwhile
            return bool(await self._redis.transaction(change, key, value_from_callable=True))

    async def is_cancelled(self, task_id: str) -> bool:
        """Say whether somebody has cancelled a task that is about to begin.

        What that goes by is up to a tenth of a second old, and older while Redis is away.
        """
        if self._redis is None:
            return False
        async with self._asking:  # to ask for each task would hold up all of them
            if monotonic() >= self._ask_at:
                try:
                    some = _CANCELLED, time(), math.inf, 0, _MANY
                    found = await self._redis.zrangebyscore(*some)
                    self._cancelled, pause = set(map(str, found)), _FRESH
                except RedisError:
                    pause = _AWAY
                self._ask_at = monotonic() + pause
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
        """Count from the time at which a task is due: until then nobody is done with it."""
        return self._expires + max(0, int(record.due_at - time()))


def _read(text: Any) -> TaskRecord | None:
    return None if text is None else _AS_JSON.validate_json(text)


@contextmanager
def _reaching_redis() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise StatesUnavailable("the states of tasks cannot be reached") from error
