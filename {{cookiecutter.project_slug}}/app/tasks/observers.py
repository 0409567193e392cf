"""Hooks into the life of a task: the way in for metrics, alerts and traces, and the log itself."""

import logging
from collections.abc import Iterable

from .info import FAILURES, TaskInfo
from .redaction import describe_error

logger = logging.getLogger("app.tasks")


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
    """All observers of a runner as one."""

    def __init__(self, observers: Iterable[TaskObserver]) -> None:
        self._observers = tuple(observers)
        self._log = all(type(one).failed is TaskObserver.failed for one in self._observers)
        """Whether nobody sees a failure: no task may fail in silence."""

    def tell(self, event: str, info: TaskInfo) -> None:
        """Call a hook of every observer; one that raises is logged and passed over."""
        for observer in self._observers:
            try:
                getattr(observer, event)(info)
            except BaseException:
                logger.exception("observer %r failed for task %s", observer, info.name)
        if self._log and event in FAILURES:
            logger.error("task %s (%s) %s", info.name, info.id, info.state, exc_info=info.error)


class LoggingObserver(TaskObserver):
    """One line for every event; a failure comes with its traceback.

    What goes as it should is logged at debug level, but a success at `success_level`: a line
    costs more than a short task, and the metrics count it anyway.
    """

    def __init__(self, success_level: int = logging.DEBUG) -> None:
        self._success_level = success_level

    def started(self, info: TaskInfo) -> None:
        """Log how long it has waited."""
        _log(logging.DEBUG, "task started", info, wait=info.wait)

    def succeeded(self, info: TaskInfo) -> None:
        """Log how long it took."""
        _log(self._success_level, "task succeeded", info, duration=info.duration)

    def retried(self, info: TaskInfo) -> None:
        """Log a failure that is not the last word, or that the task has put itself off."""
        if info.error is None:
            _log(logging.DEBUG, "task will be run again", info, retry_in=info.retry_in)
        else:  # in one line: the traceback of the last failure is logged
            cause = describe_error(info.error)
            event = "task will be retried"
            _log(logging.WARNING, event, info, retry_in=info.retry_in, cause=cause)

    def failed(self, info: TaskInfo) -> None:
        """Log the exception."""
        _log(logging.ERROR, "task failed", info, error=info.error, duration=info.duration)

    def timed_out(self, info: TaskInfo) -> None:
        """Log what it exceeded."""
        _log(logging.ERROR, f"task timed out: {info.error}", info)

    def cancelled(self, info: TaskInfo) -> None:
        """Log the cancellation."""
        _log(logging.WARNING, "task cancelled", info)

    def rejected(self, info: TaskInfo) -> None:
        """Log the refusal."""
        _log(logging.WARNING, "task rejected", info)


def _log(
    level: int, event: str, info: TaskInfo, error: BaseException | None = None, **more: object
) -> None:
    if logger.isEnabledFor(level):
        names = {"task": info.name, "task_id": info.id, "attempt": info.attempt}
        seconds = {name: round(n, 4) for name, n in more.items() if isinstance(n, float)}
        logger.log(level, "%s", event, extra={**names, **more, **seconds}, exc_info=error)
