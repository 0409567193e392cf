"""What the endpoints answer."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from .models import ReportStatus

ColumnType = Literal["boolean", "integer", "number", "date", "datetime", "text"]

Value = int | float | date | datetime | str
"""The value of a cell; in JSON, a date is a string in ISO 8601."""


class TopValue(BaseModel):
    """A frequent value; texts are cut off after 200 characters."""

    value: bool | Value
    count: int


class Bin(BaseModel):
    """A bin of a column's histogram; bins without values are left out."""

    number: int = Field(description="position of the bin, from 0")
    low: Value = Field(description="smallest value in the bin")
    high: Value
    count: int


class ColumnStatistics(BaseModel):
    """Statistics of one column; null where they make no sense for its type.

    Spaces around a cell and all but its first 200 characters are ignored. A cell is null if it is
    empty, or NA, N/A, #N/A, NULL or NaN in any case. The type is the first of these that fits all
    other cells: `boolean` (true, false), `integer` (64 bits), `number`, `date` and `datetime`
    (ISO 8601, from the year 1000, without an offset), `text`. Numbers with leading zeros are text,
    since they may be post codes.
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
    distinct: int = Field(description="number of distinct values")
    top: list[TopValue] = Field(description="up to 5 most frequent values")
    histogram: list[Bin] | None = Field(default=None, description="up to 12 bins of equal width")


class ReportStatistics(BaseModel):
    """Statistics of all columns, in the order of the file."""

    rows: int = Field(description="without header; blank lines count only if there is one column")
    columns: list[ColumnStatistics]
    approximate: list[str] = Field(
        default=["p25", "p50", "p75"], description="fields of a column that are approximations"
    )


class ReportAccepted(BaseModel):
    """An accepted file; `GET /tasks/{task_id}` shows how its task proceeds."""

    id: UUID
    status: ReportStatus
    task_id: str


class ReportDetail(ReportAccepted):
    """A report in its current state."""

    file_name: str
    email: str
    created_at: datetime
    finished_at: datetime | None
    error: str | None = Field(description="why it failed, with the row number if a row is at fault")
    statistics: ReportStatistics | None
