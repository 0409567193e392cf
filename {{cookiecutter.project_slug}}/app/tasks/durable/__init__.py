"""Durable tasks: rows of the caller's own transaction, run at least once whatever crashes.

- `table.py` the tables, `reader.py` what is read of them, `store.py` what is written, `clock.py`
  whose time
- `row.py` from a call to a row, and from a row to a job
- `outbox.py` lets a task that is submitted in a session become a row of its transaction;
  `enqueue.py` does so without an engine; `notify.py` wakes other processes at the commit
- `poller.py` claims what is due, `leases.py` keeps what was claimed and prunes what is over,
  `recorder.py` writes the end of runs, `periodic.py` adds the ticks of periodic tasks; `loop.py`
  and `batcher.py` are their tools
- `limits.py` counts what runs, over all processes
- `steps.py` results of parts of a task, kept with what they wrote
- `shared_types.py` what is changed of tasks while they run, in all processes
- `submission.py` checks a call and gives it to the outbox; `tasks.py` builds all that for an engine
"""

from .dialect import WAKE_CHANNEL
from .outbox import outbox
from .steps import step, step_session, step_sessions
from .store import TaskStore
from .submission import enqueue
from .table import metadata

__all__ = [
    "WAKE_CHANNEL",
    "TaskStore",
    "enqueue",
    "metadata",
    "outbox",
    "step",
    "step_session",
    "step_sessions",
]
