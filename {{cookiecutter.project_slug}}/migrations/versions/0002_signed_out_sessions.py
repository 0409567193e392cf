"""The table of the browser sessions that were ended by signing out."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "signed_out_sessions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("forgotten_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signed_out_sessions")),
    )
    op.create_index(
        op.f("ix_signed_out_sessions_forgotten_at"), "signed_out_sessions", ["forgotten_at"]
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("signed_out_sessions")
