"""Priorities: who goes first when there is more work than room."""

from enum import IntEnum


class Priority(IntEnum):
    """How urgent a task is; a smaller number goes first. Any int from 0 to 9 is a priority too."""

    URGENT = 0
    HIGH = 3
    NORMAL = 5
    LOW = 7
    IDLE = 9


PRIORITIES = range(Priority.URGENT, Priority.IDLE + 1)
"""All there are, the first to go first."""


def check_priority(value: object) -> int:
    """Return `value` if it is a priority; raise ValueError if it is not an int from 0 to 9."""
    # bool is an int to Python, but `priority=True` is always a mistake.
    if isinstance(value, int) and not isinstance(value, bool) and value in PRIORITIES:
        return value
    msg = f"priority must be a whole number from 0 (first) to 9 (last), not {value!r}"
    raise ValueError(msg)
