"""The tables of durable tasks. Their metadata is separate from the application's."""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

metadata = MetaData()

STEP_NAME_LENGTH = 200
"""Characters."""
TICK = "tick-"
"""Prefix of the ids of periodic tasks' ticks; no other id has it."""

# Timestamps are seconds since the epoch, because the database compares and adds them, and databases
# disagree on how to do that with time zones.
tasks = Table(
    "background_tasks",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    # The limits of a task count by this: its name, or a hash of the argument that `per` names.
    Column("limit_group", String(200), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("timeout", Float),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    Column("progress", Text),
    Column("created_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    # Due tasks are claimed in the order of this column: `due_at + priority * aging`.
    Column("position", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("owner", String(32)),
    Column("lease_until", Float, nullable=False),
    # Long columns come last: SQLite reads a row only up to the last column that a query selects.
    Column("arguments", Text, nullable=False),
    Column("context", Text, nullable=False),
    Column("traceback", Text),
    Index("ix_background_tasks_state_due_at", "state", "due_at"),
    # For claims and pruning: open tasks have a null in the first column, tasks to prune an old
    # time. A partial index would load the dialects of unused databases: megabytes of code.
    Index("ix_background_tasks_finished_at", "finished_at", "name", "position", "due_at"),
    # For lists of one state. With the name in it, other tasks are skipped without being read.
    Index("ix_background_tasks_state_created_at", "state", "created_at", "id", "name"),
    # For lists of one name. Without it a rare name takes half a second among a million rows; it
    # costs 2 % of a task's CPU time.
    Index("ix_background_tasks_name_state_created_at", "name", "state", "created_at", "id"),
)

steps = Table(
    "background_task_steps",
    metadata,
    Column("task_id", String(32), ForeignKey(tasks.c.id, ondelete="CASCADE"), primary_key=True),
    Column("name", String(STEP_NAME_LENGTH), primary_key=True),
    Column("result", Text, nullable=False),
)

# What operators have changed about a task at run time; null keeps what code and settings say.
task_types = Table(
    "background_task_types",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("paused", Boolean, nullable=False),
    Column("max_concurrency", Integer),
    Column("rate_limit", String(50)),
)

# When tasks with a rate limit were started. Starts older than its period are deleted.
starts = Table(
    "background_task_starts",
    metadata,
    Column("task_id", String(32), primary_key=True),
    Column("started_at", Float, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("limit_group", String(200), nullable=False),
    Index("ix_background_task_starts_name_started_at", "name", "started_at"),
)
