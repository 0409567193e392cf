"""Hooks into the life of a task: the way in for logging, metrics, alerts and traces."""

import logging
from collections.abc import Callable, Sequence

from .info import TaskInfo, TaskState

logger = logging.getLogger(__name__)

Hooks = tuple[Callable[[TaskInfo], None], ...]


class TaskObserver:
    """Base class whose hooks do nothing until overridden.

    A hook runs on the event loop, in the context of the task it is told about (`queued` and
    `rejected` in that of the submitter), and must not block. An exception in a hook is logged and
    does the task no harm.
    """

    def queued(self, info: TaskInfo) -> None:
        """The task was accepted and waits."""

    def started(self, info: TaskInfo) -> None:
        """A run begins; `info.attempt` says which."""

    def retried(self, info: TaskInfo) -> None:
        """A run failed with `info.error`; the task waits `info.retry_in` seconds for the next.

        The error is None if the run asked for the next itself, by `Snooze`.
        """

    def succeeded(self, info: TaskInfo) -> None:
        """The task is done."""

    def failed(self, info: TaskInfo) -> None:
        """The task raised `info.error` and will not run again."""

    def timed_out(self, info: TaskInfo) -> None:
        """The task took too long and will not run again."""

    def dead(self, info: TaskInfo) -> None:
        """A durable task is given up, since its process ended each time; a failure by default."""
        self.failed(info)

    def cancelled(self, info: TaskInfo) -> None:
        """The task was cancelled; `info.duration` is None if it was not running."""

    def rejected(self, info: TaskInfo) -> None:
        """The queue was full; the task was never accepted."""


class Observers:
    """All observers of a runner as one: a hook costs only what somebody overrode."""

    def __init__(self, observers: Sequence[TaskObserver]) -> None:
        self.queued = _overridden(observers, "queued")
        self.started = _overridden(observers, "started")
        self.rejected = _overridden(observers, "rejected")
        # A task must not fail in silence because nobody thought of an observer.
        logged: Hooks = (_log_failure,)
        self.ended: dict[TaskState, Hooks] = {
            TaskState.QUEUED: _overridden(observers, "retried"),
            TaskState.SUCCEEDED: _overridden(observers, "succeeded"),
            TaskState.FAILED: _overridden(observers, "failed") or logged,
            TaskState.TIMED_OUT: _overridden(observers, "timed_out") or logged,
            TaskState.DEAD: _overridden(observers, "dead", "failed") or logged,
            TaskState.CANCELLED: _overridden(observers, "cancelled"),
        }
        """What is told of each outcome of a run; QUEUED is a retry."""


def notify(hooks: Hooks, info: TaskInfo) -> None:
    """Call every hook; one that raises is logged and passed over."""
    for hook in hooks:
        try:
            hook(info)
        except BaseException:
            logger.exception("observer %r failed for task %s", hook, info.name)


def _overridden(observers: Sequence[TaskObserver], *names: str) -> Hooks:
    """Return the hooks of the first name that do something; by default it calls the others."""
    return tuple(
        getattr(observer, names[0])
        for observer in observers
        if any(getattr(type(observer), name) is not getattr(TaskObserver, name) for name in names)
    )


def _log_failure(info: TaskInfo) -> None:
    logger.error("task %s (%s) %s", info.name, info.id, info.state, exc_info=info.error)
