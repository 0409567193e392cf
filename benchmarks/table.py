"""The figures of one benchmark as a Markdown table, with their targets."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One figure, and whether it meets its target; None if it has no target."""

    what: str
    value: str
    target: str = ""
    passed: bool | None = None


@dataclass
class Table:
    """The figures of one script."""

    title: str
    how: str
    """How they were measured, in a sentence or two."""
    rows: list[Row] = field(default_factory=list)

    def note(self, what: str, value: float, unit: str) -> None:
        """Add a figure without a target."""
        self.rows.append(Row(what, shown(value, unit)))

    def spread(self, what: str, values: Sequence[float], unit: str) -> None:
        """Add a figure without a target, with the smallest and the largest of its rounds."""
        ends = f"{shown(min(values), '')} to {shown(max(values), '')}"
        self.rows.append(Row(what, f"{shown(median(values), unit)} ({ends})"))

    def at_least(self, what: str, value: float, bound: float, unit: str) -> None:
        """Add a figure that must not be smaller than `bound`."""
        self.rows.append(Row(what, shown(value, unit), f"≥ {bound:g} {unit}", value >= bound))

    def at_most(self, what: str, value: float, bound: float, unit: str) -> None:
        """Add a figure that must not be larger than `bound`."""
        self.rows.append(Row(what, shown(value, unit), f"≤ {bound:g} {unit}", value <= bound))

    def __str__(self) -> str:
        """Return the table as Markdown."""
        lines = [
            f"## {self.title}",
            "",
            self.how,
            "",
            "| | median | target | |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {row.what} | {row.value} | {row.target.strip()} | {_verdict(row.passed)} |"
            for row in self.rows
        ]
        return "\n".join(lines)


def shown(value: float, unit: str) -> str:
    """Return a figure with about three significant digits."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2  # noqa: PLR2004 - digits
    return f"{value:,.{digits}f} {unit}".strip()


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median ratio of pairs, since a slow machine slows both figures of a pair."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def progress(text: str) -> None:
    """Print to stderr what has been measured so far."""
    print(f"    {text}", file=sys.stderr, flush=True)


def main(measure: Callable[[bool], Table]) -> None:
    """Run a script's `measure(quick)` and print its table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    print(measure(parser.parse_args().quick))


def _verdict(passed: bool | None) -> str:
    if passed is None:
        return ""
    return "pass" if passed else "**missed**"
