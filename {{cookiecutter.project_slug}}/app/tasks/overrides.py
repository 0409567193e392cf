"""Overrides: the options of tasks that an operator has changed by TASKS_OVERRIDES."""

from collections import Counter
from collections.abc import Iterable
from copy import copy
from typing import Any, ParamSpec, TypeVar

from .settings import TaskSettings
from .task import Task

P = ParamSpec("P")
R = TypeVar("R")


def overridden(task: Task[P, R], settings: TaskSettings) -> Task[P, R]:
    """Return the task as the settings have it."""
    override = settings.overrides.get(task.name)
    return task if override is None else task.overridden(override)


def overridden_tasks(
    tasks: Iterable[Task[..., Any]], settings: TaskSettings
) -> tuple[Task[..., Any], ...]:
    """Return copies of tasks as the settings have them, which the engine may change.

    Raises ValueError when two have the same name, and when a task is overridden that is not there.
    """
    tasks = tuple(copy(overridden(task, settings)) for task in tasks)
    counts = Counter(task.name for task in tasks)
    doubles = [name for name, count in counts.items() if count > 1]
    if doubles:
        msg = f"more than one task is called {', '.join(doubles)}: give them names, @task(name=...)"
        raise ValueError(msg)
    settings.check_overrides(counts)
    return tasks
