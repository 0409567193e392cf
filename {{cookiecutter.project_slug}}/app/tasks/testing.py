"""What helps to test tasks."""

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

_SOON = 0.02
"""Seconds after which it is seen that something waits for its time again, like a retry."""


@contextmanager
def submitted_to(runner: TaskRunner) -> Iterator[list[Call]]:
    """Give the calls that are submitted in the block, in their order; they run as ever.

    A call is there when the runner has it: for one of a request, when the response has been sent.
    """
    calls: list[Call] = []
    reserve = runner.reserve

    def noting(call: Call) -> Submission:
        submission = reserve(call)

        def enqueue() -> None:
            submission.enqueue()
            calls.append(call)

        return submission._replace(enqueue=enqueue)

    with patch.object(runner, "reserve", noting):
        yield calls


async def run_waiting(runner: TaskRunner, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - as join
    """Run what waits, what waits for its time too, and return when nothing is left.

    So a delay, a retry or a snooze is over at once. Periodic tasks are left alone. Raises
    TimeoutError after `timeout` seconds.
    """
    async with asyncio.timeout(timeout):
        while not await _is_over(runner) or await runner.bring_forward():
            await runner.bring_forward()


def next_runs(task: Task[..., Any], after: datetime, count: int) -> list[datetime]:
    """Return when a periodic task runs next after a time, in the time zone of its schedule.

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


async def _is_over(runner: TaskRunner) -> bool:
    try:
        await runner.join(_SOON)
    except TimeoutError:
        return False
    return True
