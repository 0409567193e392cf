"""What is submitted when a task has failed for good: its `on_failure`."""

import json
import logging
from typing import Any

from .engine import TaskEngine
from .info import FAILURES, FailedTask, TaskState
from .job import Job, Stop
from .options import NO_OPTIONS
from .redaction import describe_error
from .task import Task

logger = logging.getLogger(__name__)


def submit_on_failure(runner: TaskEngine, job: Job, state: TaskState) -> None:
    """Submit the `on_failure` of a task that lives in memory, if it has one and has failed.

    A shutdown is too late for that. What keeps it from being accepted is logged.
    """
    task = job.task
    if not isinstance(task, Task) or task.on_failure is None or job.stop is Stop.SHUTDOWN:
        return
    if state not in FAILURES:
        return
    try:
        failed = FailedTask(job.id, job.name, _arguments(task, job), state, error_text(job))
        runner.submit_with(NO_OPTIONS, task.on_failure, (failed,), {})
    except Exception:
        logger.exception("the on_failure of task %s (%s) was not accepted", job.name, job.id)


def error_text(job: Job) -> str:
    """Return what a job has raised, as text that can be stored; empty if it has not."""
    return "" if job.error is None else describe_error(job.error)


def _arguments(task: Task[..., Any], job: Job) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(task.check_arguments.to_json(job.args, job.kwargs))
    return values
