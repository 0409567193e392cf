"""A job with a row in the table of durable tasks."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ..arguments import Arguments
from ..job import Job, Ledger
from ..lane import Lane
from ..options import Options
from ..task import Task


class DurableJob(Job):
    """A durable task in the hands of this process, from its submission or its claim on."""

    __slots__ = ("at_commit", "claimed", "committed", "has_place", "own_timeout", "problem", "task")

    def __init__(
        self,
        task: Task[..., Any],
        arguments: Arguments,
        options: Options,
        lanes: tuple[Lane, ...],
        default_timeout: float,
        ledger: Ledger,
    ) -> None:
        super().__init__(task, arguments, options, lanes, default_timeout)
        # From the system: a cloned machine would repeat the ids of its twin in the same table.
        self.id = os.urandom(16).hex()
        self.ledger = ledger
        self.task = task
        self.own_timeout = options.timeout
        self.has_place = True
        self.at_commit = False
        """Whether it starts when its transaction commits, or when its request has ended."""
        self.committed: bool | None = None
        """None while its transaction is open."""
        self.claimed = False
        """Whether this process has the lease; if not, the row waits for whoever is free."""
        self.problem: Exception | None = None
        """Why it cannot be run at all."""

    def fail_with(self, error: Exception) -> None:
        """Let the run raise `error` instead of calling the function, and do not count it."""
        super().fail_with(error)
        self.problem = error

    def values(self, context: dict[str, str]) -> dict[str, Any]:
        """Return what the row says from its first moment on."""
        now = time.time()
        return {
            "id": self.id,
            "name": self.name,
            "arguments": self.task.check_arguments.to_json(self.args, self.kwargs),
            "context": json.dumps(context),
            "priority": int(self.priority),
            "timeout": self.own_timeout,
            "created_at": now,
            "due_at": now + self.delay,
        }
