"""Durable tasks: rows of the caller's own transaction, run at least once whatever crashes.

- `table.py` the tables, `due.py` which tasks may be claimed, `reader.py` what lists and metrics
  read, `store.py` what is written, `dialect.py` what differs between databases
- `row.py` from a call to a row, and from a row to a job
- `outbox.py` writes the rows of a session's tasks when it commits, and those of `enqueue` from code
  in which no engine runs
- `poller.py` claims what is due, `leases.py` keeps what was claimed and prunes what is over,
  `recorder.py` writes the end of runs, many by one statement, `periodic.py` adds the ticks of
  periodic tasks
- `limits.py` counts what runs, over all processes
- `steps.py` results of parts of a task, kept with what they wrote
- `tasks.py` checks a call and adds it to the outbox, counts what is due, and builds what every
  engine needs of these
"""

from .table import metadata

__all__ = ["metadata"]
