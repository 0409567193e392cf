"""Statistics of a CSV file: exact, in bounded memory, whatever the number of rows.

The cells are first copied into files that polars can scan by column. Then the values of each
column are sorted and counted, and everything else follows from that. The csv module alone
decides what the file says; polars never reads it, so the two cannot disagree.
"""

import math
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from .csv_file import CsvReader, Row
from .spread import describe_spread
from .types import TYPES, Type

_TOP = 5
_MAX_TEXT = 100
_BYTES_PER_FILE = 3_000_000
_CELLS_IN_MEMORY = 300_000
_QUARTILES = {"p25": 0.25, "p50": 0.5, "p75": 0.75}
_VALUE, _COUNT, _SEEN = pl.col("value"), pl.col("count"), pl.col("seen")


def describe(reader: CsvReader, folder: Path) -> dict[str, Any]:
    """Return what the schema `ReportStatistics` describes.

    `folder` gets files that are of no use afterwards. Raises CsvError.
    """
    rows = _copy(reader, folder)
    cells = pl.scan_parquet(folder / "cells-*.parquet")
    types = _find_types(cells, len(reader.names))
    columns = []
    for index, column in enumerate(_columns(cells, len(reader.names), rows)):
        type_, count = types[index]
        values = column.select(value=type_.parse(pl.first())).drop_nulls()
        groups = _group(values, folder / f"groups-{index}.parquet")
        statistics = _describe(type_, count, values, groups)
        columns.append({"name": reader.names[index], "nulls": rows - count, **statistics})
    return {"rows": rows, "columns": columns}


def _copy(reader: CsvReader, folder: Path) -> int:
    """Copy the cells into files and return the number of rows.

    The columns are called "0", "1", ...: a name from the file could mean something to polars.
    White space around a cell does not count, and an empty cell is null.
    """
    rows = 0
    text = pl.all().str.strip_chars()
    for number, frames in enumerate(_bundles(map(_frame, reader.batches()))):
        frame = pl.concat(frames).select(pl.when(text != "").then(text))
        frame.write_parquet(folder / f"cells-{number:06}.parquet", compression="lz4")
        rows += frame.height
    return rows


def _frame(rows: list[Row]) -> pl.DataFrame:
    columns = enumerate(zip(*rows, strict=True))
    return pl.DataFrame([pl.Series(str(index), cells, pl.String) for index, cells in columns])


def _bundles(frames: Iterable[pl.DataFrame]) -> Iterator[list[pl.DataFrame]]:
    """Put frames together: with many columns, each file costs more than what is in it."""
    bundle: list[pl.DataFrame] = []
    for frame in frames:
        bundle.append(frame)
        if sum(frame.estimated_size() for frame in bundle) > _BYTES_PER_FILE:
            yield bundle
            bundle = []
    if bundle:
        yield bundle


def _find_types(cells: pl.LazyFrame, width: int) -> list[tuple[Type, int]]:
    """Return for each column the first type that fits all its cells, and their number."""
    counts = _one_row(
        cells,
        *(
            type_.parse(pl.col(str(index))).count().alias(f"{index} {type_.name}")
            for index in range(width)
            for type_ in TYPES
        ),
    )
    text = TYPES[-1]
    found = []
    for index in range(width):
        count = counts[f"{index} {text.name}"]
        fitting = (type_ for type_ in TYPES if counts[f"{index} {type_.name}"] == count)
        found.append((next(fitting) if count else text, count))
    return found


def _columns(cells: pl.LazyFrame, width: int, rows: int) -> Iterator[pl.LazyFrame]:
    """Give each column, from memory where that is little: to scan it means to open all files."""
    names = [str(index) for index in range(width)]
    together = _CELLS_IN_MEMORY // rows
    if not together:
        yield from (cells.select(name) for name in names)
        return
    for start in range(0, width, together):
        frame = cells.select(names[start : start + together]).collect(engine="streaming")
        yield from (frame.lazy().select(name) for name in frame.columns)


def _group(values: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """Return the distinct values in ascending order, each with its count."""
    # Sorted values arrive one group after the other, so polars needs no table of all groups,
    # and it moves to disk what is too much to sort in memory.
    groups = values.sort("value").group_by("value", maintain_order=True).len("count")
    groups.sink_parquet(path, compression="lz4")
    return pl.scan_parquet(path)


def _describe(
    type_: Type, count: int, values: pl.LazyFrame, groups: pl.LazyFrame
) -> dict[str, Any]:
    known: dict[str, Any] = {"type": type_.name, "count": count}
    known |= _one_row(groups, pl.len().alias("distinct"))
    if count and type_.is_ordered:
        known |= _one_row(groups, _VALUE.min().alias("min"), _VALUE.max().alias("max"))
    if count and type_.is_numeric:
        known |= _one_row(values, _VALUE.mean().alias("mean"), _VALUE.std().alias("std"))
        known |= _quartiles(groups, count)
    known = {name: _plain(value) for name, value in known.items()}
    if count and type_.is_ordered:
        known |= describe_spread(type_.name, count, groups, known.get("p25"), known.get("p75"))
    return {**known, "top": _top(groups)}


def _quartiles(groups: pl.LazyFrame, count: int) -> dict[str, float]:
    """Return the quartiles, between two values if need be (numpy's and pandas' default)."""
    positions = {name: share * (count - 1) for name, share in _QUARTILES.items()}
    ranks = {rank for place in positions.values() for rank in (math.floor(place), math.ceil(place))}
    by_rank = _one_row(
        groups.with_columns(seen=_COUNT.cum_sum()),
        *(_VALUE.filter(rank < _SEEN).first().alias(str(rank)) for rank in ranks),
    )
    quartiles = {}
    for name, place in positions.items():
        low, high = by_rank[str(math.floor(place))], by_rank[str(math.ceil(place))]
        quartiles[name] = low + (high - low) * (place % 1)
    return quartiles


def _top(groups: pl.LazyFrame) -> list[dict[str, Any]]:
    """Return the most frequent values; of equally frequent ones the smaller."""
    top = groups.top_k(_TOP, by=["count", "value"], reverse=[False, True])
    rows = top.collect(engine="streaming").rows()
    return [{"value": _plain(value), "count": count} for value, count in rows]


def _one_row(frame: pl.LazyFrame, *expressions: pl.Expr) -> dict[str, Any]:
    return frame.select(*expressions).collect(engine="streaming").row(0, named=True)


def _plain(value: Any) -> Any:
    """Make a value fit for JSON: no infinity, no NaN, no text of any length."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return value[: _MAX_TEXT - 1] + "…"
    return value.isoformat() if isinstance(value, date) else value
