"""Priorities: who goes first when there is more work than room."""

from enum import IntEnum
from typing import Annotated

from pydantic import Field


class Priority(IntEnum):
    """How urgent a task is; a smaller number goes first. Any int from 0 to 9 is a priority too."""

    URGENT = 0
    HIGH = 3
    NORMAL = 5
    LOW = 7
    IDLE = 9


PRIORITIES = range(Priority.URGENT, Priority.IDLE + 1)
"""All there are, the first to go first."""


PriorityNumber = Annotated[int, Field(strict=True, ge=PRIORITIES[0], le=PRIORITIES[-1])]
"""One of them; no bool, which is an int to Python and always a mistake here."""
