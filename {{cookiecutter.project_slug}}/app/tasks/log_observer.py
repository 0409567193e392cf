"""Logs the life of every task through the standard logging module."""

import logging

from .info import TaskInfo
from .observers import TaskObserver
from .redaction import describe_error

logger = logging.getLogger("app.tasks")


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
        logger.log(level, "%s", event, extra={**names, **more}, exc_info=error)
