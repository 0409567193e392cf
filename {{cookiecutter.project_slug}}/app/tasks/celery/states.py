"""What became of tasks: kept for a while in Redis, for every process to see."""

import asyncio
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic, time
from typing import Any

from pydantic import TypeAdapter
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from ..errors import TaskNotAccepted
from ..info import TaskRecord, TaskState
from ..loop import Loop
from ..redaction import describe_error
from .message import Message

logger = logging.getLogger(__name__)

_PREFIX = "task:"
_CANCELLED = "tasks-cancelled"
"""The ids of tasks that no worker is to begin, whatever their states say later; each with the time
until which it is kept."""
_FRESH, _AWAY = 0.1, 1.0
"""Seconds for which a worker does not ask again if there are none, or Redis does not answer."""
_RETRY_AFTER = 2
"""Seconds after which a caller may try again."""
_INTERVAL, _IDLE = 0.05, 3600.0
"""Seconds between two writes of a worker, and if there is nothing to write."""
_AS_JSON = TypeAdapter(TaskRecord)
"""What a newer release has added is left out."""


class StatesUnavailable(TaskNotAccepted):
    """The Redis with the states of tasks cannot be reached. Try again later.

    Until then nobody can tell what has become of a task in memory, or cancel it.
    """


def record_of(message: Message, state: TaskState, **values: Any) -> TaskRecord:
    """Return what is kept of a task in this state; `values` are what a message does not know."""
    known = {
        name: getattr(message, name)
        for name in ("id", "name", "priority", "timeout", "attempts", "created_at", "due_at")
    }
    return TaskRecord(**{**known, **values}, state=state)


class TaskStates:
    """The states of tasks on workers, by id. What is not async blocks: call it in a thread.

    A worker writes the latest state of each task a few times a second. That is what makes states
    cheap: a short task begins and ends between two writes.
    """

    def __init__(self, url: str, expires: float, timeout: float) -> None:
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, decode_responses=True
        )
        self._expires = max(1, int(expires))
        self._waiting: dict[str, TaskRecord] = {}
        self._loop = Loop("writing the states of tasks", self.flush, _IDLE)
        self._saving, self._asking = asyncio.Lock(), asyncio.Lock()
        self._none_until = 0.0
        """Until when no task is taken for cancelled (`time.monotonic()`)."""

    def start(self) -> None:
        """Begin to write what will be noted."""
        self._writing = asyncio.create_task(self._loop.run())

    def save(self, records: Collection[TaskRecord], *, first: bool = False) -> None:
        """Write states down, or leave what is known already if they are the `first` of their tasks.

        While Redis is away they are not kept, which the log says.
        """
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for record in records:
                    self._set(pipe, record, first=first)
                pipe.execute()
        except RedisError as error:
            why = describe_error(error)
            logger.warning("the states of %d tasks are not kept: %s", len(records), why)

    def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task; raises StatesUnavailable."""
        with _reaching_redis():
            return _read(self._redis.get(_PREFIX + task_id))

    def cancel(self, task_id: str, unsent: TaskRecord | None) -> bool:
        """Let workers pass over a task that has not begun; False if there is no such task.

        `unsent` is what is known of one of which Redis may not know yet. Raises StatesUnavailable.
        """

        def change(pipe: Pipeline) -> Any:
            record = _read(pipe.get(_PREFIX + task_id)) or unsent
            pipe.multi()
            if record is None or record.state != TaskState.QUEUED:
                return False
            now = time()
            pipe.zadd(_CANCELLED, {task_id: now + self._seconds_kept(record)})
            self._set(pipe, replace(record, state=TaskState.CANCELLED, finished_at=now))
            return True

        with _reaching_redis():  # anew if a worker tells of the task meanwhile
            key = _PREFIX + task_id
            return bool(self._redis.transaction(change, key, value_from_callable=True))

    async def is_cancelled(self, task_id: str) -> bool:
        """Say whether somebody has cancelled a task that is about to begin.

        If nobody has cancelled any, that is up to a tenth of a second old.
        """
        async with self._asking:  # to ask in vain for each task would hold up all of them
            if monotonic() < self._none_until:
                return False
            try:
                number, kept_until = await asyncio.to_thread(self._find_cancelled, task_id)
            except RedisError:
                self._none_until = monotonic() + _AWAY
                return False
            if not number:
                self._none_until = monotonic() + _FRESH
            return kept_until is not None

    def note(self, message: Message, state: TaskState, **values: Any) -> None:
        """Write the state of a task soon."""
        self._waiting[message.id] = record_of(message, state, **values)
        self._loop.wake_at(monotonic() + _INTERVAL)

    async def flush(self) -> None:
        """Write what waits now."""
        async with self._saving:  # or an earlier state could be written after a later one
            waiting, self._waiting = self._waiting, {}
            await asyncio.to_thread(self.save, waiting.values())

    async def close(self) -> None:
        """Write what waits, and close the connections."""
        self._loop.stop()
        await self._writing
        await self.flush()
        self._redis.close()

    def _find_cancelled(self, task_id: str) -> tuple[int, float | None]:
        """Return how many tasks are cancelled, and until when this one is kept if it is."""
        with self._redis.pipeline() as pipe:
            pipe.zremrangebyscore(_CANCELLED, 0, time())
            pipe.zcard(_CANCELLED)
            pipe.zscore(_CANCELLED, task_id)
            _, number, kept_until = pipe.execute()
        return number, kept_until

    def _set(self, pipe: Pipeline, record: TaskRecord, *, first: bool = False) -> None:
        text = _AS_JSON.dump_json(record)
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
        msg = "the states of tasks cannot be reached"
        raise StatesUnavailable(msg, _RETRY_AFTER) from error
