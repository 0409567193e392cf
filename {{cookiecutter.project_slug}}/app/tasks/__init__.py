"""The background-task module.

It imports nothing from the rest of the application: `cp -r` takes it into another service.

- `task.py`: the decorator; `options.py`: calls and their options; `arguments.py`: the JSON check
- `dependency.py`: `Tasks`, the drop-in for FastAPI's BackgroundTasks
- `runner.py`: `TaskRunner`, which accepts calls, starts and stops
- `dispatcher.py` decides when a job runs, `job_queue.py` which one is next, `executor.py` runs it,
  `threads.py` has the threads for sync functions
- `job.py`: one submission of a task; `info.py`: what observers and pages see of it
- `task_types.py`: pausing a task and changing its limits at run time
- `schedule.py`: the ticks of a periodic task; `periodic.py` submits the in-memory ones
- `durable/`: tasks that survive the process
- `observers.py`: hooks, for metrics and the like, and the log; `trace_observer.py`: traces
- `redaction.py`: errors and arguments as text without secrets
- `context.py`: what a running task can ask and report, and the context it takes along
- `priority.py`, `limits.py`, `retry.py`, `settings.py`, `errors.py`: the values that steer it
"""

from .context import Propagator as Propagator
from .context import current_task as current_task
from .context import report_progress as report_progress
from .dependency import Tasks as Tasks
from .durable.outbox import enqueue as enqueue
from .durable.steps import step as step
from .durable.store import TaskStore as TaskStore
from .errors import ArgumentError as ArgumentError
from .errors import OutsideTransactionError as OutsideTransactionError
from .errors import PoisonedError as PoisonedError
from .errors import QueueFull as QueueFull
from .errors import RunnerClosed as RunnerClosed
from .errors import TaskNotAccepted as TaskNotAccepted
from .errors import UnknownTaskError as UnknownTaskError
from .info import UNSUCCESSFUL as UNSUCCESSFUL
from .info import FailedTask as FailedTask
from .info import Progress as Progress
from .info import Snapshot as Snapshot
from .info import TaskInfo as TaskInfo
from .info import TaskRecord as TaskRecord
from .info import TaskState as TaskState
from .info import TaskType as TaskType
from .info import record_of as record_of
from .observers import LoggingObserver as LoggingObserver
from .observers import TaskObserver as TaskObserver
from .options import Options as Options
from .priority import Priority as Priority
from .redaction import describe_arguments as describe_arguments
from .redaction import describe_error as describe_error
from .redaction import describe_traceback as describe_traceback
from .redaction import redact as redact
from .retry import Retry as Retry
from .retry import Snooze as Snooze
from .runner import TaskRunner as TaskRunner
from .runner import current_runner as current_runner
from .settings import TaskSettings as TaskSettings
from .task import Task as Task
from .task import task as task
from .trace_observer import TracingObserver as TracingObserver
