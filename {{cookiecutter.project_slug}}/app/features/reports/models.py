"""The table of the reports."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, UtcDateTime, utc_now

MAX_FILE_NAME = 200
"""Characters of a file's name that are stored."""
ReportStatus = Literal["pending", "processing", "done", "failed"]
"""A report with one of the last two is finished."""


class Report(Base):
    """The report on one uploaded file."""

    __tablename__ = "reports"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(String(32))
    email: Mapped[str] = mapped_column(String(320))
    file_name: Mapped[str] = mapped_column(String(MAX_FILE_NAME))
    status: Mapped[ReportStatus] = mapped_column(String(20), default="pending")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now, index=True)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    error: Mapped[str | None]
    statistics: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
