"""The background-task module.

It imports nothing of the application and could be lifted out with `cp -r`.

- `task.py` the decorator, `options.py` calls and their options, `arguments.py` checks arguments
- `dependency.py` `Tasks`, the drop-in for FastAPI's BackgroundTasks
- `engine.py` what every engine does, `runner.py` the one in this process
- `dispatcher.py` which job runs when, `job_queue.py` and `limits.py` who goes next; `executor.py`
  runs it, with `threads.py` for sync functions
- `job.py` one submission, `ids.py` its id, `info.py` what observers and pages are told of it
- `task_types.py` what is changed of tasks while they run: pauses and limits
- `schedule.py` when a periodic task runs, `periodic.py` submits those in memory
- `durable/` tasks that survive the process
- `observers.py` hooks, such as for metrics; `log_observer.py`, `trace_observer.py` are two of them
- `redaction.py` what is told of errors and arguments
- `context.py` what a running task can ask and sees, and what of that travels to other processes
- `priority.py`, `retry.py`, `rate.py`, `settings.py` and `errors.py` the values that steer it
"""

from .context import Propagator, current_task, report_progress
from .dependency import Tasks
from .durable.outbox import enqueue
from .durable.steps import step
from .durable.store import TaskStore
from .engine import TaskEngine, current_runner
from .errors import (
    ArgumentError,
    OutsideTransactionError,
    PoisonedError,
    QueueFull,
    RunnerClosed,
    TaskNotAccepted,
    UnknownTaskError,
)
from .info import (
    UNSUCCESSFUL,
    FailedTask,
    Progress,
    Snapshot,
    TaskInfo,
    TaskRecord,
    TaskState,
    TaskType,
    record_of,
)
from .log_observer import LoggingObserver
from .observers import TaskObserver
from .options import Options
from .priority import Priority
from .redaction import describe_arguments, describe_error, describe_traceback, redact
from .retry import Retry, Snooze
from .runner import TaskRunner
from .settings import TaskSettings
from .task import Task, task
from .trace_observer import TracingObserver

__all__ = [
    "UNSUCCESSFUL",
    "ArgumentError",
    "FailedTask",
    "LoggingObserver",
    "Options",
    "OutsideTransactionError",
    "PoisonedError",
    "Priority",
    "Progress",
    "Propagator",
    "QueueFull",
    "Retry",
    "RunnerClosed",
    "Snapshot",
    "Snooze",
    "Task",
    "TaskEngine",
    "TaskInfo",
    "TaskNotAccepted",
    "TaskObserver",
    "TaskRecord",
    "TaskRunner",
    "TaskSettings",
    "TaskState",
    "TaskStore",
    "TaskType",
    "Tasks",
    "TracingObserver",
    "UnknownTaskError",
    "current_runner",
    "current_task",
    "describe_arguments",
    "describe_error",
    "describe_traceback",
    "enqueue",
    "record_of",
    "redact",
    "report_progress",
    "step",
    "task",
]
