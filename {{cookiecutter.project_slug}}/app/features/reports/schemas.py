"""What the endpoints take and give."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from .models import ReportStatus

ColumnType = Literal["boolean", "integer", "number", "date", "datetime", "text"]

Value = int | float | date | datetime | str
"""Of a cell; a date is a text in ISO 8601."""


class TopValue(BaseModel):
    """A frequent value; a text is cut off after 200 characters."""

    value: bool | Value
    count: int


class Bin(BaseModel):
    """A part of the range of a column; one without values is left out."""

    number: int = Field(description="of the part, from 0")
    low: Value = Field(description="the smallest value in it")
    high: Value
    count: int


class ColumnStatistics(BaseModel):
    """One column. What makes no sense for its type is null.

    A cell counts without the spaces around it, a long one with its first 200 characters. It is
    null if it is empty or says so (NA, N/A, NULL, NaN). The type is the first of these that fits
    every other cell: `boolean` (true, false), `integer` (64 bits), `number`, `date` and `datetime`
    (ISO 8601, from the year 1000, without an offset), `text`. A number with leading zeros is text,
    as a post code is.
    """

    name: str
    type: ColumnType
    count: int = Field(description="cells that are not null")
    nulls: int
    min: Value | None = None
    max: Value | None = None
    mean: float | None = None
    std: float | None = Field(default=None, description="standard deviation of a sample (n - 1)")
    p25: float | None = Field(default=None, description="quartiles are approximations")
    p50: float | None = None
    p75: float | None = None
    distinct: int = Field(description="number of different values")
    top: list[TopValue] = Field(description="up to 5 most frequent values")
    histogram: list[Bin] | None = Field(default=None, description="up to 12 parts of one width")


class ReportStatistics(BaseModel):
    """All columns, in the order of the file."""

    rows: int = Field(description="without the header; a blank line is none, or null in one column")
    columns: list[ColumnStatistics]
    approximate: list[str] = Field(
        default=["p25", "p50", "p75"], description="what is an approximation in every column"
    )


class ReportAccepted(BaseModel):
    """The file has arrived; `GET /tasks/{task_id}` tells of the work."""

    id: UUID
    status: ReportStatus
    task_id: str


class ReportDetail(ReportAccepted):
    """A report as it is now."""

    file_name: str
    email: str
    created_at: datetime
    finished_at: datetime | None
    error: str | None = Field(description="why it failed, with the row if one is to blame")
    statistics: ReportStatistics | None
