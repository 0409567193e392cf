"""The types that a column can have: how its cells are read, and what can be said about them."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Type:
    """A type of cells."""

    name: str
    parse: Callable[[pl.Expr], pl.Expr]
    """Turns texts into values, and whatever is not of the type into null."""
    is_ordered: bool = False
    """Whether a smallest and a largest value say something."""
    is_numeric: bool = False


def _boolean(cell: pl.Expr) -> pl.Expr:
    word = cell.str.to_lowercase()
    return pl.when(word.is_in(["true", "false"])).then(word == "true")


def _integer(cell: pl.Expr) -> pl.Expr:
    return pl.when(_is_amount(cell)).then(cell.cast(pl.Int64, strict=False))


def _number(cell: pl.Expr) -> pl.Expr:
    # "nan", "inf" and "1e400" can be cast, too, but nothing can be computed with them.
    number = cell.cast(pl.Float64, strict=False)
    return pl.when(_is_amount(cell) & number.is_finite()).then(number)


def _is_amount(cell: pl.Expr) -> pl.Expr:
    """Tell numbers from post codes and the like, which begin with a 0 and have no mean."""
    return ~cell.str.contains("^[+-]?0[0-9]")


def _date(cell: pl.Expr) -> pl.Expr:
    # The parser is lenient ("24-1-5"), so the exact form is asked for first.
    is_iso = cell.str.contains("^[0-9]{4}-[0-9]{2}-[0-9]{2}$") & ~_is_year_0(cell)
    return pl.when(is_iso).then(cell).str.to_date("%Y-%m-%d", strict=False)


def _datetime(cell: pl.Expr) -> pl.Expr:
    iso = r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?)$"
    plain = pl.when(cell.str.contains(iso) & ~_is_year_0(cell)).then(
        cell.str.replace("T", " ", literal=True)
    )
    return plain.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)


def _is_year_0(cell: pl.Expr) -> pl.Expr:
    """Tell the year that polars has and Python has not."""
    return cell.str.starts_with("0000")


TYPES = (
    Type("boolean", _boolean),
    Type("integer", _integer, is_ordered=True, is_numeric=True),
    Type("number", _number, is_ordered=True, is_numeric=True),
    Type("date", _date, is_ordered=True),
    Type("datetime", _datetime, is_ordered=True),
    Type("text", lambda cell: cell),
)
"""A column has the first type that fits each of its cells. Whole numbers of more than 64 bits are
numbers, which keep 15 digits. Anything fits the last one."""
