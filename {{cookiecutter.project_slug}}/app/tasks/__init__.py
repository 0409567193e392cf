"""The background-task module.

It imports nothing of the application and could be lifted out with `cp -r`.

- `task.py` the decorator, `options.py` options for one call, `arguments.py` the check of arguments
- `dependency.py` `Tasks`, the drop-in for FastAPI's BackgroundTasks
- `runner.py` the front of the in-process engine, `engine.py` its inside, `queue.py` and `lane.py`
  who goes next, `threads.py` where sync functions run, `places.py` how many may wait,
  `deadlines.py` which runs take too long
- `priority.py`, `retry.py`, `rate.py`, `settings.py` the values that steer it
- `durable/` tasks that survive the process, `carrier.py` what travels with them
- `observer.py` hooks for logging, metrics and alerts, `info.py` what they are told;
  `logging_observer.py` the log, `tracing_observer.py` the trace
- `context.py` what a running task can ask, `errors.py` what can go wrong, `redaction.py` what is
  told of it
"""

from .carrier import Carrier, carry_all
from .context import current_runner, current_task
from .dependency import RequestTasks, Tasks
from .durable import TaskRecord, TaskStore, outbox
from .errors import (
    ArgumentError,
    OutsideTransactionError,
    PoisonedError,
    QueueFull,
    RunnerClosed,
    TaskNotAccepted,
    UnknownTaskError,
)
from .info import Snapshot, TaskInfo, TaskState, TaskSummary
from .logging_observer import LoggingObserver
from .observer import TaskObserver
from .priority import Priority
from .redaction import describe_error, describe_traceback, redact
from .retry import Retry
from .runner import TaskRunner
from .settings import TaskSettings
from .task import Task, task
from .tracing_observer import TRACE_CONTEXT, TracingObserver

__all__ = [
    "TRACE_CONTEXT",
    "ArgumentError",
    "Carrier",
    "LoggingObserver",
    "OutsideTransactionError",
    "PoisonedError",
    "Priority",
    "QueueFull",
    "RequestTasks",
    "Retry",
    "RunnerClosed",
    "Snapshot",
    "Task",
    "TaskInfo",
    "TaskNotAccepted",
    "TaskObserver",
    "TaskRecord",
    "TaskRunner",
    "TaskSettings",
    "TaskState",
    "TaskStore",
    "TaskSummary",
    "Tasks",
    "TracingObserver",
    "UnknownTaskError",
    "carry_all",
    "current_runner",
    "current_task",
    "describe_error",
    "describe_traceback",
    "outbox",
    "redact",
    "task",
]
