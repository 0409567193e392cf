"""Times as people read them."""

import math
from time import time

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def seconds(value: float) -> str:
    """Return a length of time: "4 ms", "1.2 s", "90 s", "3.1 min", "90 min", "2.7 h", "4 d"."""
    if value == math.inf:
        return "no limit"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    # A unit is used from two of it on: 90 s, and not 1.5 min.
    size, unit = next(((size, unit) for size, unit in _UNITS if value >= 2 * size), (1, "s"))
    number = value / size
    return f"{number:.2g} {unit}" if number < 10 else f"{number:,.0f} {unit}"  # noqa: PLR2004


def ago(then: float) -> str:
    """Return how long ago something was, which is given in seconds since the epoch."""
    passed = round(max(0.0, time() - then))  # the clock of another machine may be ahead
    return f"{seconds(passed)} ago" if passed > 0 else "just now"
