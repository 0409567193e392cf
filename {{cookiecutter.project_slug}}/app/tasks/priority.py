"""Priorities: which task starts first when not all can run at once."""

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
"""All priorities, the most urgent first."""


PriorityNumber = Annotated[int, Field(strict=True, ge=PRIORITIES[0], le=PRIORITIES[-1])]
"""A priority as an int; not a bool, which Python would accept and is always a mistake here."""
