"""The tables of durable background tasks."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "background_tasks",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("limit_group", sa.String(200), nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("timeout", sa.Float),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("progress", sa.Text),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("position", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("owner", sa.String(32)),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("traceback", sa.Text),
    )
    op.create_index("ix_background_tasks_state_due_at", "background_tasks", ["state", "due_at"])
    op.create_index(
        "ix_background_tasks_finished_at",
        "background_tasks",
        ["finished_at", "name", "position", "due_at"],
    )
    op.create_index(
        "ix_background_tasks_state_created_at",
        "background_tasks",
        ["state", "created_at", "id", "name"],
    )
    op.create_index(
        "ix_background_tasks_name_state_created_at",
        "background_tasks",
        ["name", "state", "created_at", "id"],
    )
    op.create_table(
        "background_task_steps",
        sa.Column(
            "task_id",
            sa.String(32),
            sa.ForeignKey("background_tasks.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("result", sa.Text, nullable=False),
    )
    op.create_table(
        "background_task_types",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("max_concurrency", sa.Integer),
        sa.Column("rate_limit", sa.String(50)),
    )
    op.create_table(
        "background_task_starts",
        sa.Column("task_id", sa.String(32), primary_key=True),
        sa.Column("started_at", sa.Float, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("limit_group", sa.String(200), nullable=False),
    )
    op.create_index(
        "ix_background_task_starts_name_started_at",
        "background_task_starts",
        ["name", "started_at"],
    )


def downgrade() -> None:
    """Drop the tables, and with them every task that has not run."""
    op.drop_table("background_task_starts")
    op.drop_table("background_task_types")
    op.drop_table("background_task_steps")
    op.drop_table("background_tasks")
