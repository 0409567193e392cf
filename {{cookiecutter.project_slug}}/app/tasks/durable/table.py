"""The tables of durable tasks. Their metadata is their own: it knows nothing of an application."""

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
"""With it begin the ids of the ticks of periodic tasks, and no others."""

# Timestamps are seconds since the epoch: they are compared and added to in the database, and no two
# databases agree on how that is done with time zones.
tasks = Table(
    "background_tasks",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(200), nullable=False),
    # By what its limits are counted: its name, or a value of the parameter that `per` names.
    Column("limit_group", String(200), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("timeout", Float),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    Column("progress", Text),
    Column("created_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    # Where a task stands among those that wait: `due_at + priority * aging`.
    Column("position", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("owner", String(32)),
    Column("lease_until", Float, nullable=False),
    # The long ones come last: SQLite reads a row up to the last column that is asked for.
    Column("arguments", Text, nullable=False),
    Column("context", Text, nullable=False),
    Column("traceback", Text),
    Index("ix_background_tasks_state_due_at", "state", "due_at"),
    # Those that have not ended have a null in its first column and stand in the order of their
    # name, with the time from which they may be claimed; those to prune have an old timestamp. A
    # partial index would load the dialects of databases that are not used, megabytes of code.
    Index("ix_background_tasks_finished_at", "finished_at", "name", "position", "due_at"),
    # In which lists show those of a state; the name is there to leave others out without a read.
    Index("ix_background_tasks_state_created_at", "state", "created_at", "id", "name"),
    # The same of one name: among a million others half a second, for 2 % of what a task takes.
    Index("ix_background_tasks_name_state_created_at", "name", "state", "created_at", "id"),
)

steps = Table(
    "background_task_steps",
    metadata,
    Column("task_id", String(32), ForeignKey(tasks.c.id, ondelete="CASCADE"), primary_key=True),
    Column("name", String(STEP_NAME_LENGTH), primary_key=True),
    Column("result", Text, nullable=False),
)

# What an operator has changed of a task at run time; null is what it is by the code and settings.
task_types = Table(
    "background_task_types",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("paused", Boolean, nullable=False),
    Column("max_concurrency", Integer),
    Column("rate_limit", String(50)),
)

# When tasks with a rate limit were started; older ones than its period are deleted.
starts = Table(
    "background_task_starts",
    metadata,
    Column("task_id", String(32), primary_key=True),
    Column("started_at", Float, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("limit_group", String(200), nullable=False),
    Index("ix_background_task_starts_name_started_at", "name", "started_at"),
)
