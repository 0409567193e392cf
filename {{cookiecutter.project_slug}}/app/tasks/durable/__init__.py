"""Durable tasks: rows of the caller's own transaction, run at least once whatever crashes.

- `table.py` defines the tables, `due.py` says which tasks can be claimed, `store.py` writes to the
  tables, `reader.py` reads for lists and metrics, `dialect.py` has what differs between databases
- `row.py` turns a call into a row, and a claimed row into a job
- `outbox.py` writes the rows of a session's tasks when it commits; its `enqueue` needs no engine
- `poller.py` claims due tasks, `leases.py` renews their leases and prunes the table, `recorder.py`
  writes how runs ended, many in one statement, `periodic.py` adds the ticks of periodic tasks
- `limits.py` counts runs and starts over all processes
- `steps.py` stores the results of a task's steps together with what the steps wrote
- `tasks.py` checks a call and adds it to the outbox, counts due tasks, and builds the parts that
  every engine needs
"""

from .table import metadata

__all__ = ["metadata"]
