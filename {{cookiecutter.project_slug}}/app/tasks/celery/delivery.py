"""The ledger of a task that came in a message."""

from __future__ import annotations

import asyncio

from ..info import TaskState
from ..job import Job


class Delivery:
    """The ledger of one message: the broker keeps the task until its run has ended here."""

    repeats_elsewhere = True

    def __init__(self) -> None:
        self._end: asyncio.Future[TaskState] = asyncio.get_running_loop().create_future()

    async def end(self) -> TaskState:
        """Return the state in which the run leaves the task; QUEUED if it is to be repeated."""
        return await self._end

    async def begin(self, job: Job) -> bool:  # noqa: ARG002
        """Let every run start."""
        return True

    async def settle(self, job: Job, state: TaskState) -> None:  # noqa: ARG002
        """Take note of the end of a run."""
        if not self._end.done():
            self._end.set_result(state)

    def drop(self, job: Job) -> None:  # noqa: ARG002
        """Take note that the job was cancelled while it waited."""
        if not self._end.done():
            self._end.set_result(TaskState.CANCELLED)
