"""Rates such as "10/minute": how many runs may start in any window of that length."""

import re
from dataclasses import dataclass

_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_RATE = re.compile(r"\s*([1-9][0-9]{0,8})\s*/\s*(second|minute|hour|day)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` starts in any window of `period` seconds."""

    count: int
    period: float

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read "10/minute"; raise ValueError for anything else."""
        match = _RATE.fullmatch(text)
        if match is None:
            msg = f'a rate is written like "10/minute" (second, minute, hour or day), not {text!r}'
            raise ValueError(msg)
        return cls(int(match[1]), _SECONDS[match[2]])

    def __str__(self) -> str:
        """Write it as `parse` reads it."""
        (unit,) = (unit for unit, seconds in _SECONDS.items() if seconds == self.period)
        return f"{self.count}/{unit}"
