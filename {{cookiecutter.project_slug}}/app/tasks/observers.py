"""Hooks into the life of a task: the way in for logging, metrics, alerts and traces."""

import logging
from collections.abc import Callable, Sequence

from .info import TaskInfo, TaskState

logger = logging.getLogger(__name__)

Hook = Callable[[TaskInfo], None]


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
        self.retried = _overridden(observers, "retried")
        self.succeeded = _overridden(observers, "succeeded")
        # A task must not fail in silence because nobody thought of an observer.
        self.failed = _overridden(observers, "failed") or (_log_failure,)
        self.timed_out = _overridden(observers, "timed_out") or (_log_failure,)
        self.dead = _overridden(observers, "dead", "failed") or (_log_failure,)
        self.cancelled = _overridden(observers, "cancelled")
        self.rejected = _overridden(observers, "rejected")
        self._outcomes = {
            TaskState.QUEUED: self.retried,
            TaskState.SUCCEEDED: self.succeeded,
            TaskState.FAILED: self.failed,
            TaskState.TIMED_OUT: self.timed_out,
            TaskState.DEAD: self.dead,
            TaskState.CANCELLED: self.cancelled,
        }

    def of(self, state: TaskState) -> tuple[Hook, ...]:
        """Return the hooks for an outcome; QUEUED is a retry."""
        return self._outcomes[state]


def notify(hooks: tuple[Hook, ...], info: TaskInfo) -> None:
    """Call every hook; one that raises is logged and passed over."""
    for hook in hooks:
        try:
            hook(info)
        except BaseException:
            logger.exception("observer %r failed for task %s", hook, info.name)


def _overridden(observers: Sequence[TaskObserver], name: str, *called: str) -> tuple[Hook, ...]:
    """Return the hooks of that name that do something; by default it calls those of `called`."""
    return tuple(
        getattr(observer, name)
        for observer in observers
        if any(
            getattr(type(observer), hook) is not getattr(TaskObserver, hook)
            for hook in (name, *called)
        )
    )


def _log_failure(info: TaskInfo) -> None:
    logger.error("task %s (%s) %s", info.name, info.id, info.state, exc_info=info.error)
