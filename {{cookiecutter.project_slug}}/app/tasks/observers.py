"""Hooks for the events of a task, used by metrics, alerts and traces, and the log."""

import logging
from collections.abc import Iterable

from .info import FAILURES, TaskInfo
from .redaction import describe_error

logger = logging.getLogger("app.tasks")


class TaskObserver:
    """Base class of observers; its hooks do nothing.

    A hook must not block: it is called on the event loop, in the context of the task (`rejected`,
    and `queued` of in-memory tasks, in the submitter's). Its exceptions are logged and do no harm.
    """

    def queued(self, info: TaskInfo) -> None:
        """The task was accepted and waits."""

    def started(self, info: TaskInfo) -> None:
        """A run begins; `info.attempt` is its number."""

    def retried(self, info: TaskInfo) -> None:
        """A run failed with `info.error`; the task runs again in `info.retry_in` seconds.

        The error is None if the run raised `Snooze`.
        """

    def succeeded(self, info: TaskInfo) -> None:
        """The task has succeeded."""

    def failed(self, info: TaskInfo) -> None:
        """The task raised `info.error` and will not run again."""

    def timed_out(self, info: TaskInfo) -> None:
        """The task exceeded its timeout and will not run again."""

    def dead(self, info: TaskInfo) -> None:
        """The process died in the task's last attempt; calls `failed` by default."""
        self.failed(info)

    def cancelled(self, info: TaskInfo) -> None:
        """Cancelled, or requeued by a shutdown; `info.duration` is None if the task was waiting."""

    def rejected(self, info: TaskInfo) -> None:
        """The task was not accepted: the queue was full, for example."""


class Observers:
    """The observers of a runner."""

    def __init__(self, observers: Iterable[TaskObserver]) -> None:
        self._observers = tuple(observers)
        self._log_failures = all(type(o).failed is TaskObserver.failed for o in self._observers)
        """Whether no observer handles failures: no task may fail unnoticed."""

    def notify(self, event: str, info: TaskInfo) -> None:
        """Call the hook `event` of every observer; log what a hook raises, and go on."""
        for observer in self._observers:
            try:
                getattr(observer, event)(info)
            except BaseException:
                logger.exception("observer %r failed for task %s", observer, info.name)
        if self._log_failures and event in FAILURES:
            logger.error("task %s (%s) %s", info.name, info.id, info.state, exc_info=info.error)


class LoggingObserver(TaskObserver):
    """Logs one line for each event except `queued`, and a failure with its traceback.

    Normal events are logged at debug level, but a success at `success_level`: a line costs more
    than a short task, which the totals count anyway.
    """

    def __init__(self, success_level: int = logging.DEBUG) -> None:
        self._success_level = success_level

    def started(self, info: TaskInfo) -> None:
        """Log how long the task waited."""
        _log(logging.DEBUG, "task started", info, wait=info.wait)

    def succeeded(self, info: TaskInfo) -> None:
        """Log how long the run took."""
        _log(self._success_level, "task succeeded", info, duration=info.duration)

    def retried(self, info: TaskInfo) -> None:
        """Log a failure that is retried, or a snooze."""
        if info.error is None:
            _log(logging.DEBUG, "task will be run again", info, retry_in=info.retry_in)
        else:  # without a traceback: only the last failure is logged with one
            cause = describe_error(info.error)
            event = "task will be retried"
            _log(logging.WARNING, event, info, retry_in=info.retry_in, cause=cause)

    def failed(self, info: TaskInfo) -> None:
        """Log the exception."""
        _log(logging.ERROR, "task failed", info, error=info.error, duration=info.duration)

    def timed_out(self, info: TaskInfo) -> None:
        """Log the timeout that was exceeded."""
        _log(logging.ERROR, f"task timed out: {info.error}", info)

    def cancelled(self, info: TaskInfo) -> None:
        """Log the cancellation."""
        _log(logging.WARNING, "task cancelled", info)

    def rejected(self, info: TaskInfo) -> None:
        """Log the refusal."""
        _log(logging.WARNING, "task rejected", info, cause=describe_error(info.error))


def _log(
    level: int, event: str, info: TaskInfo, error: BaseException | None = None, **fields: object
) -> None:
    if logger.isEnabledFor(level):
        names = {"task": info.name, "task_id": info.id, "attempt": info.attempt}
        seconds = {name: round(n, 4) for name, n in fields.items() if isinstance(n, float)}
        logger.log(level, "%s", event, extra={**names, **fields, **seconds}, exc_info=error)
