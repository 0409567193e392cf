"""Numbers and times as people read them."""

import math
from collections.abc import Iterable
from statistics import quantiles
from time import time

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_NAME_LENGTH = 80
NOTHING = "\N{EN DASH}"


def seconds(value: float) -> str:
    """Return a length of time: "4 ms", "1.2 s", "12 s", "3 min 5 s", "2 h 40 min", "3 d 4 h"."""
    if value == math.inf:
        return "no limit"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < _MINUTE:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"  # noqa: PLR2004
    if value < _HOUR:
        return _in_two_units(value, _MINUTE, "min", 1, "s")
    if value < _DAY:
        return _in_two_units(value, _HOUR, "h", _MINUTE, "min")
    return _in_two_units(value, _DAY, "d", _HOUR, "h")


def _in_two_units(value: float, unit: int, name: str, part: int, part_name: str) -> str:
    rest = int(value % unit // part)
    return f"{value // unit:,.0f} {name}" + (f" {rest} {part_name}" if rest else "")


def ago(then: float) -> str:
    """Return how long ago something was, which is given in seconds since the epoch."""
    passed = round(max(0.0, time() - max(0.0, then)))  # whatever a row says
    return f"{seconds(passed)} ago" if passed > 0 else "just now"


def rate(per_second: float) -> str:
    """Return how often something happens, by the second or by the minute: "12/s", "3/min"."""
    if per_second >= 1:
        return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s"  # noqa: PLR2004
    return f"{per_second * _MINUTE:.0f}/min"


def percentiles(values: Iterable[float], *percents: int) -> list[str]:
    """Return percentiles of some lengths of time."""
    found = list(values)
    if len(found) < 2:  # noqa: PLR2004 - between one and itself there is nothing to divide
        return [seconds(found[0]) if found else NOTHING] * len(percents)
    cuts = quantiles(found, n=100, method="inclusive")
    return [seconds(cuts[percent - 1]) for percent in percents]


def cut(name: str) -> str:
    """Return a name that fits into a table."""
    return name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}…"
