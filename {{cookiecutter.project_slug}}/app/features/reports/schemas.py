"""What the endpoints take and give."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.tasks import Priority

from .models import ReportStatus

Value = bool | int | float | str
"""A cell; dates are texts in ISO 8601."""

ColumnType = Literal["boolean", "integer", "number", "date", "datetime", "text"]


class TopValue(BaseModel):
    """A frequent value."""

    value: Value = Field(description="a text of more than 100 characters is cut off")
    count: int


class Histogram(BaseModel):
    """How many values lie between two edges, the outliers left out.

    The value of an edge belongs to the bin above it; that of the last edge to the last bin.
    """

    edges: list[int | float | str] = Field(description="ascending, one more than there are counts")
    counts: list[int]


class Outliers(BaseModel):
    """Values that are more than 1.5 quartile ranges away from the middle half (Tukey's fences)."""

    low: float = Field(description="outliers are smaller than this")
    high: float = Field(description="or greater than this")
    below: int
    above: int


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
    p25: float | None = Field(default=None, description="interpolated, as the other two")
    p50: float | None = None
    p75: float | None = None
    distinct: int = Field(description="number of different values")
    top: list[TopValue] = Field(description="up to 5 most frequent values")
    approximate: list[str] = Field(
        default=[],
        description="what is not exact: `distinct` and `top` if texts are longer than 200 "
        "characters, since those with the same beginning count as one",
    )
    histogram: Histogram | None = None
    outliers: Outliers | None = Field(
        default=None, description="null also when the quartiles are equal"
    )


class ReportStatistics(BaseModel):
    """All columns, in the order of the file."""

    rows: int = Field(
        description="without the header and blank lines, which in a file of one column are nulls"
    )
    columns: list[ColumnStatistics]


class ReportAccepted(BaseModel):
    """The file has arrived; nothing is known about it yet."""

    id: UUID
    status: ReportStatus
    task_id: str


class _ReportView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

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


def _parse_priority(value: object) -> int:
    text = str(value).strip()
    if text.upper() in Priority.__members__:
        return Priority[text.upper()]
    if text.isascii() and text.isdecimal() and int(text[:4]) <= Priority.IDLE:
        return int(text)
    names = ", ".join(priority.name.lower() for priority in Priority)
    msg = f"must be one of {names}, or a whole number from 0 (first) to 9 (last)"
    raise ValueError(msg)


AnyPriority = Annotated[
    int,
    BeforeValidator(_parse_priority),
    WithJsonSchema({"type": "string", "examples": ["normal", "high", "7"]}),
]
"""A priority by its name, in any case, or by its number."""
