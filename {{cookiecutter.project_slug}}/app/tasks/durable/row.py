"""Turns the call of a durable task into a row of the table, and a claimed row into a job."""

import json
from collections.abc import Mapping
from typing import Any

from ..arguments import Arguments
from ..context import Propagator
from ..errors import PoisonedError
from ..info import TaskRecord, TaskState
from ..job import Job
from ..options import NO_OPTIONS, Options
from ..priority import PRIORITIES
from ..settings import TaskSettings
from ..task import Task

COLUMNS = (
    *("id", "name", "limit_group", "priority", "timeout"),
    *("state", "attempts", "lease_until", "arguments", "context"),
)
"""The columns that `new_row` fills."""
_LONGEST = 1e10
"""Seconds of the longest timeout, 300 years: JSON, by which rows are inserted, has no infinity."""


def new_row(
    task: Task[..., Any],
    arguments: Arguments,
    options: Options,
    context: Mapping[str, str],
    aging: float,
) -> dict[str, Any]:
    """Return the row of a call, except for its times, which `outbox.add_rows` sets.

    `delay` returns the seconds until the task is due, `rank` is those added for its priority.
    """
    priority = int(task.priority if options.priority is None else options.priority)
    return {
        "id": task.id_of(options.key),
        "has_key": options.key is not None,
        "name": task.name,
        "limit_group": task.limit_group(arguments),
        "arguments": task.check_arguments.to_json(*arguments),
        "context": json.dumps(context),
        "priority": priority,
        "rank": priority * aging,
        "timeout": options.timeout and min(options.timeout, _LONGEST),
        "delay": options.seconds_until_due,
        "state": TaskState.QUEUED,
        "attempts": 0,
        "lease_until": 0.0,
    }


def job_of(
    record: TaskRecord,
    task: Task[..., Any],
    settings: TaskSettings,
    propagator: Propagator,
) -> Job:
    """Return the job of a claimed row.

    A row that cannot be read becomes a job that fails when it runs, so that it stops no other task.
    """
    job = Job(record.id, task, ((), {}), NO_OPTIONS, settings.default_timeout)
    job.priority = min(max(record.priority, PRIORITIES[0]), PRIORITIES[-1])
    job.created_at = record.created_at
    job.attempt = record.attempts - 1  # the claim has counted this run
    job.delay = min(record.due_at - (record.started_at or 0.0), 0.0)
    limit = settings.crash_attempts if task.retry is None else task.retry.attempts
    try:
        options = Options(priority=record.priority, timeout=record.timeout)
        job.timeout = job.timeout if options.timeout is None else options.timeout
        job.context.run(propagator.extract, json.loads(record.context))
        job.args, job.kwargs = task.check_arguments.from_json(record.arguments)
    except Exception as error:  # noqa: BLE001 - see above
        job.fail_with(error)
    if record.attempts > limit:
        job.attempt -= 1  # the function is not called again
        earlier = f"; an earlier run failed: {record.error}" if record.error else ""
        job.fail_with(PoisonedError(f"the process ended during run {limit} of {limit}{earlier}"))
    return job
