"""What became of tasks: kept for a while in Redis, for every process to see."""

import json
import logging
from dataclasses import asdict, replace
from time import time
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.client import Pipeline

from ..durable import TaskRecord
from ..durable.batcher import Batcher
from ..info import TaskState
from .message import Message

logger = logging.getLogger(__name__)

_PREFIX = "task:"


class TaskStates:
    """The states of tasks on workers, by id. Blocks: call it in a thread."""

    def __init__(self, url: str, expires: float, timeout: float) -> None:
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, decode_responses=True
        )
        self._expires = max(1, int(expires))

    def save(self, message: Message, state: TaskState) -> None:
        """Write down that the task of `message` is in `state`."""
        self._redis.set(_PREFIX + message.id, _text(message, state, {}), ex=self._expires)

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
            ended = replace(record, state=TaskState.CANCELLED, finished_at=time())
            pipe.set(key, json.dumps(asdict(ended)), ex=self._expires)
            return True

        key = _PREFIX + task_id
        return bool(self._redis.transaction(change, key, value_from_callable=True))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()


class StateWriter:
    """Writes the states of the tasks that a worker runs, many at a time if many change at once.

    Redis may be away: the tasks run all the same, and the log says that their state is not kept.
    """

    def __init__(self, url: str, expires: float, timeout: float) -> None:
        self._redis: AsyncRedis = AsyncRedis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, decode_responses=True
        )
        self._expires = max(1, int(expires))
        self._writes = Batcher(self._write)

    async def save(self, message: Message, state: TaskState, **values: Any) -> TaskState | None:
        """Write down the state of a task; return the state that it was in, if that is known."""
        try:
            before = await self._writes.add((_PREFIX + message.id, _text(message, state, values)))
        except Exception:
            logger.exception("the state of task %s (%s) is not kept", message.name, message.id)
            return None
        return None if before is None else _record(before).state

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _write(self, entries: list[tuple[str, str]]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for key, text in entries:
            pipe.set(key, text, ex=self._expires, get=True)
        return await pipe.execute()


def _text(message: Message, state: TaskState, values: dict[str, Any]) -> str:
    record = {
        "id": message.id,
        "name": message.name,
        "arguments": "",
        "context": "",
        "priority": message.priority,
        "timeout": message.timeout,
        "state": state,
        "attempts": message.attempts,
        "error": None,
        "created_at": message.created_at,
        "due_at": message.due_at,
        "started_at": None,
        "finished_at": None,
        **values,
    }
    return json.dumps(record)


def _record(text: Any) -> TaskRecord:
    values = json.loads(str(text))
    return TaskRecord(**{**values, "state": TaskState(values["state"])})
