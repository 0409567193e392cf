"""From the call of a durable task to a row of the table, and from there to a job."""

import json
import os
from collections.abc import Mapping
from typing import Any

from ..arguments import Arguments
from ..errors import PoisonedError
from ..ids import id_of
from ..info import TaskRecord
from ..job import Job, Recorder
from ..limits import Limiters
from ..options import NO_OPTIONS, Options
from ..priority import PRIORITIES, Priority
from ..propagation import Propagator
from ..settings import TaskSettings
from ..task import Task
from .due import seconds_a_step


def new_row(
    task: Task[..., Any],
    arguments: Arguments,
    options: Options,
    context: Mapping[str, str],
    aging: float,
) -> dict[str, Any]:
    """Return what the row of a call says, except for what depends on the time: see `add_rows`.

    `delay` is in seconds until it is due, `rank` in seconds by which its priority puts it back.
    """
    given = task.priority if options.priority is None else options.priority
    priority = int(Priority.NORMAL if given is None else given)
    # From the system: a cloned machine would repeat the ids of its twin in the same table.
    task_id = os.urandom(16).hex() if options.key is None else id_of(task.name, options.key)
    return {
        "id": task_id,
        "has_key": options.key is not None,
        "name": task.name,
        "limit_group": task.limit_group(arguments),
        "arguments": task.check_arguments.to_json(*arguments),
        "context": json.dumps(context),
        "priority": priority,
        "rank": priority * seconds_a_step(aging),
        "timeout": options.timeout,
        "delay": options.seconds_until_due(),
    }


class RowReader:
    """Makes jobs of claimed rows."""

    def __init__(
        self,
        tasks: Mapping[str, Task[..., Any]],
        settings: TaskSettings,
        limiters: Limiters,
        propagator: Propagator,
    ) -> None:
        self._tasks = tasks
        self._settings = settings
        self._limiters = limiters
        self._propagator = propagator

    def job(self, record: TaskRecord, recorder: Recorder, due_for: float) -> Job:
        """Return the job of a row that has been due for some seconds.

        One that cannot be run fails when its turn comes: a row must not stop all the others.
        """
        task = self._tasks[record.name]
        limiters = self._limiters.of_threads(task)  # the other limits hold since the claim
        job = Job(task, ((), {}), NO_OPTIONS, limiters, self._settings.default_timeout)
        job.id = record.id
        job.priority = min(max(record.priority, PRIORITIES[0]), PRIORITIES[-1])
        job.created_at = record.created_at
        job.delay = -max(due_for, 0.0)
        job.attempt = record.attempts - 1  # the claim has counted this one
        job.recorder = recorder
        try:
            self._read(record, task, job)
        except Exception as error:  # noqa: BLE001 - see above
            job.fail_with(error)
        return job

    def _read(self, record: TaskRecord, task: Task[..., Any], job: Job) -> None:
        options = Options(priority=record.priority, timeout=record.timeout)
        job.timeout = job.timeout if options.timeout is None else options.timeout
        job.context.run(self._propagator.extract, json.loads(record.context))
        job.args, job.kwargs = task.check_arguments.from_json(record.arguments)
        limit = self._settings.crash_attempts if task.retry is None else task.retry.attempts
        if record.attempts > limit:
            last = f" after {record.error}" if record.error else ""
            msg = f"the process ended while it ran, {limit} runs{last}"
            raise PoisonedError(msg)
