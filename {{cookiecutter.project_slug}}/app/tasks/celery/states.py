"""What became of tasks: kept for a while in Redis, for every process to see."""

import asyncio
import json
import logging
import math
from collections.abc import Iterable
from contextvars import Context
from dataclasses import asdict, replace
from time import monotonic, time
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from ..durable.batcher import Batcher
from ..info import TaskRecord, TaskState
from .message import Message

logger = logging.getLogger(__name__)

_PREFIX = "task:"
_CANCELLED = "tasks-cancelled"
"""A sorted set: the tasks that no worker is to begin, by the time at which they were cancelled."""
_INTERVAL = 0.05
"""Seconds between two writes of a worker."""
_FRESH = 0.1
"""Seconds for which a worker does not ask again which tasks were cancelled."""


def record_of(message: Message, state: TaskState, **values: Any) -> TaskRecord:
    """Return what is kept of a task in this state; `values` are what a message does not know."""
    known = {
        name: getattr(message, name)
        for name in ("id", "name", "priority", "timeout", "attempts", "created_at", "due_at")
    }
    return TaskRecord(**{**known, **values}, state=state)


class TaskStates:
    """The states of tasks on workers, by id. Blocks: call it in a thread."""

    def __init__(self, url: str, expires: float, timeout: float) -> None:
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, decode_responses=True
        )
        self._expires = max(1, int(expires))

    def save(self, records: Iterable[TaskRecord]) -> None:
        """Write states down."""
        with self._redis.pipeline(transaction=False) as pipe:
            for record in records:
                pipe.set(_PREFIX + record.id, json.dumps(asdict(record)), ex=self._expires)
            pipe.execute()

    def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task."""
        text = self._redis.get(_PREFIX + task_id)
        return None if text is None else _record(text)

    def cancel(self, task_id: str) -> bool:
        """Let a worker pass over a task that has not begun; False if there is no such task."""

        def change(pipe: Pipeline) -> Any:
            text = pipe.get(key)
            pipe.multi()
            record = None if text is None else _record(text)
            if record is None or record.state is not TaskState.QUEUED:
                return False
            now = time()
            ended = replace(record, state=TaskState.CANCELLED, finished_at=now)
            pipe.set(key, json.dumps(asdict(ended)), ex=self._expires)
            pipe.zremrangebyscore(_CANCELLED, 0, now - self._expires)
            pipe.zadd(_CANCELLED, {task_id: now})
            return True

        key = _PREFIX + task_id
        return bool(self._redis.transaction(change, key, value_from_callable=True))

    def cancelled(self) -> frozenset[str]:
        """Return the ids of the tasks that no worker is to begin."""
        return frozenset(map(str, self._redis.zrange(_CANCELLED, 0, -1)))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


class StateWriter:
    """Writes the states of the tasks that a worker runs, the latest of each, a few times a second.

    That is what makes states cheap: a short task begins and ends between two writes. Redis may be
    away: the tasks run all the same, and the log says that their states are not kept.
    """

    def __init__(self, states: TaskStates) -> None:
        self._states = states
        self._waiting: dict[str, TaskRecord] = {}
        self._writing: asyncio.Task[None] | None = None
        self._reads = Batcher(self._read)
        self._cancelled: frozenset[str] = frozenset()
        self._read_at = -math.inf

    async def is_cancelled(self, message: Message) -> bool:
        """Say whether somebody has cancelled a task that is about to begin.

        What is known of it is up to a tenth of a second old.
        """
        if monotonic() - self._read_at > _FRESH:
            try:
                await self._reads.add(None)
            except RedisError:
                return False
        return message.id in self._cancelled

    def note(self, message: Message, state: TaskState, **values: Any) -> None:
        """Write the state of a task soon."""
        self._waiting[message.id] = record_of(message, state, **values)
        if self._writing is None:
            loop = asyncio.get_running_loop()
            # In a context of its own: it serves others than the task that happened to be first.
            self._writing = loop.create_task(self._write_soon(), context=Context())

    async def flush(self) -> None:
        """Write what waits now."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        try:
            await asyncio.to_thread(self._states.save, waiting.values())
        except RedisError:
            logger.exception("the states of %d tasks are not kept", len(waiting))

    async def close(self) -> None:
        """Return when what waits has been written."""
        if self._writing is not None:
            await self._writing

    async def _read(self, _: list[None]) -> None:
        self._cancelled = await asyncio.to_thread(self._states.cancelled)
        self._read_at = monotonic()

    async def _write_soon(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_INTERVAL)
                await self.flush()
        finally:
            self._writing = None


def _record(text: Any) -> TaskRecord:
    values = json.loads(str(text))
    return TaskRecord(**{**values, "state": TaskState(values["state"])})
