"""What became of tasks: kept for a while in Redis, for every process to see."""

import json
from dataclasses import asdict
from typing import Any

from redis import Redis

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

    def save(self, message: Message, state: TaskState, **values: Any) -> None:
        """Write down that the task of `message` is in `state`."""
        record = TaskRecord(
            **{
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
        )
        self._redis.set(_PREFIX + message.id, json.dumps(asdict(record)), ex=self._expires)

    def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task."""
        text = self._redis.get(_PREFIX + task_id)
        if text is None:
            return None
        values = json.loads(str(text))
        return TaskRecord(**{**values, "state": TaskState(values["state"])})

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
