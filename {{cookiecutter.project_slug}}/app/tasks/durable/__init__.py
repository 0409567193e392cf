"""Durable tasks: rows of the caller's own transaction, run at least once whatever crashes.

- `table.py` the table, `store.py` every statement on it
- `outbox.py` lets a task that is submitted in a session become a row of its transaction
- `ledger.py` writes runs down and keeps the lease; `sweeper.py` picks up what waits in the table
"""

from .outbox import outbox
from .store import TaskRecord, TaskStore
from .table import metadata

__all__ = ["TaskRecord", "TaskStore", "metadata", "outbox"]
