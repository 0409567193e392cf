"""What became of tasks: kept for a while in Redis, for every process to see."""

import json
from dataclasses import asdict, replace
from time import time
from typing import Any

from redis import Redis
from redis.client import Pipeline

from ..durable import TaskRecord
from ..info import TaskState
from .message import Message

_PREFIX = "task:"


class TaskStates:
    """The states of tasks on workers, by id. Blocks: call it in a thread."""

    def __init__(self, url: str, expires: float, timeout: float) -> None:
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, decode_responses=True
        )
        self._expires = max(1, int(expires))

    def save(self, message: Message, state: TaskState, **values: Any) -> TaskState | None:
        """Write down that the task of `message` is in `state`; return the state it was in."""
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
        before = self._redis.set(
            _PREFIX + message.id, json.dumps(record), ex=self._expires, get=True
        )
        return None if before is None else _record(before).state

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


def _record(text: Any) -> TaskRecord:
    values = json.loads(str(text))
    return TaskRecord(**{**values, "state": TaskState(values["state"])})
