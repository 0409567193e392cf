"""What the endpoints take and give."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from .models import ReportStatus

ColumnType = Literal["boolean", "integer", "number", "date", "datetime", "text"]


class TopValue(BaseModel):
    """A frequent value. A date is a text in ISO 8601."""

    value: bool | int | float | str = Field(description="cut off after 100 characters")
    count: int


class Histogram(BaseModel):
    """How many values lie between two edges.

    The value of an edge belongs to the bin above it; that of the last edge to the last bin.
    Outliers are more than 1.5 quartile ranges away from the quartiles (Tukey's fences); there are
    none where the quartiles are equal.
    """

    edges: list[int | float | str] = Field(description="ascending, one more than there are counts")
    counts: list[int]
    below: int = Field(default=0, description="number of outliers below the first edge")
    above: int = Field(default=0, description="number of outliers above the last edge")


class ColumnStatistics(BaseModel):
    """One column. What makes no sense for its type is null.

    A cell counts without the spaces around it, and is null if it is empty or says so (NA, N/A,
    NULL, NaN). The type is the first of these that fits every other cell: `boolean` (true,
    false), `integer` (64 bits), `number` (smaller than 1e100), `date` and `datetime` (ISO 8601,
    without an offset), `text`. A number with leading zeros is text, as a post code is.
    """

    name: str
    type: ColumnType
    count: int = Field(description="cells that are not null")
    nulls: int
    min: int | float | str | None = None
    max: int | float | str | None = None
    mean: float | None = None
    std: float | None = Field(default=None, description="standard deviation of a sample (n - 1)")
    p25: float | None = Field(default=None, description="interpolated between values")
    p50: float | None = None
    p75: float | None = None
    distinct: int = Field(description="number of different values")
    top: list[TopValue] = Field(description="up to 5 most frequent values")
    histogram: Histogram | None = None


class ReportStatistics(BaseModel):
    """All columns, in the order of the file."""

    rows: int = Field(description="without the header; a blank line is none, or null in one column")
    columns: list[ColumnStatistics]


class ReportAccepted(BaseModel):
    """The file has arrived; nothing is known about it yet."""

    id: UUID
    status: ReportStatus
    task_id: str


class _ReportView(BaseModel):
    id: UUID
    status: ReportStatus
    created_at: datetime
    finished_at: datetime | None
    error: str | None = Field(description="why it failed, with the row if one is to blame")


class ReportSummary(_ReportView):
    """A report in the list of all."""

    file_name: str


class ReportDetail(_ReportView):
    """A report as it is now."""

    email: str
    statistics: ReportStatistics | None
