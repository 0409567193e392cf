"""Helpers for tests of tasks."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from unittest.mock import patch

from .options import Call, Submission
from .runner import TaskRunner
from .task import Task

__all__ = ["Call", "next_runs", "run_waiting", "submitted_to"]

_INTERVAL = 0.02
"""Seconds until tasks that are delayed again, by a retry for example, are made due."""


@contextmanager
def submitted_to(runner: TaskRunner) -> Iterator[list[Call]]:
    """Yield the list of calls that are submitted in the block, in their order; they run as usual.

    A call is added when its task is enqueued, which in a request is after the response.
    """
    calls: list[Call] = []
    reserve = runner.reserve

    def recording(call: Call) -> Submission:
        submission = reserve(call)

        def enqueue() -> None:
            submission.enqueue()
            calls.append(call)

        return submission._replace(enqueue=enqueue)

    with patch.object(runner, "reserve", recording):
        yield calls


async def run_waiting(runner: TaskRunner, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - as join
    """Run all waiting tasks, delayed ones included, and return when none is left.

    Delays, retries and snoozes are over at once; periodic tasks still wait for their ticks. Raises
    TimeoutError after `timeout` seconds.
    """
    async with asyncio.timeout(timeout):
        await _join(runner)
        while await runner.bring_forward():  # durable tasks that are delayed do not hold up a join
            await _join(runner)


def next_runs(task: Task[..., Any], after: datetime, count: int) -> list[datetime]:
    """Return the next `count` runs of a periodic task, in the time zone of its schedule.

    Raises ValueError for a task without a schedule, and for a time without a time zone.
    """
    if task.schedule is None or after.utcoffset() is None:
        msg = f"{task.name} needs a schedule, and {after!r} a time zone"
        raise ValueError(msg)
    tick, runs = after.timestamp(), []
    for _ in range(count):
        tick = task.schedule.next_after(tick)
        runs.append(datetime.fromtimestamp(tick, task.schedule.zone))
    return runs


async def _join(runner: TaskRunner) -> None:
    # One join to the end: to cancel it would cut off a statement of the database.
    async with asyncio.TaskGroup() as group:
        joining = group.create_task(runner.join())
        while not (await asyncio.wait([joining], timeout=_INTERVAL))[0]:
            await runner.bring_forward()
