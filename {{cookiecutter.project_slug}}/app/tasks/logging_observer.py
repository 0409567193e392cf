"""Logs the life of every task through the standard logging module."""

import logging
from typing import Any

from .info import TaskInfo
from .observer import TaskObserver

logger = logging.getLogger("app.tasks")


class LoggingObserver(TaskObserver):
    """One line for every event; a failure comes with its traceback."""

    def queued(self, info: TaskInfo) -> None:
        """Log at debug level: it is followed by the start."""
        logger.debug("task queued", extra=_extra(info))

    def started(self, info: TaskInfo) -> None:
        """Log the wait."""
        logger.debug("task started", extra=_extra(info, wait=round(info.wait, 6)))

    def succeeded(self, info: TaskInfo) -> None:
        """Log the duration."""
        logger.info("task succeeded", extra=_extra(info, duration=round(info.duration or 0, 6)))

    def retried(self, info: TaskInfo) -> None:
        """Log a failure that is not the last word."""
        extra = _extra(info, retry_in=round(info.retry_in or 0, 3))
        logger.warning("task will be retried", extra=extra, exc_info=info.error)

    def failed(self, info: TaskInfo) -> None:
        """Log the exception."""
        logger.error("task failed", extra=_extra(info), exc_info=info.error)

    def timed_out(self, info: TaskInfo) -> None:
        """Log the timeout."""
        logger.error("task timed out: %s", info.error, extra=_extra(info))

    def cancelled(self, info: TaskInfo) -> None:
        """Log the cancellation."""
        logger.warning("task cancelled", extra=_extra(info))

    def rejected(self, info: TaskInfo) -> None:
        """Log the refusal."""
        logger.warning("task rejected: the queue is full", extra=_extra(info))


def _extra(info: TaskInfo, **more: Any) -> dict[str, Any]:
    return {"task": info.name, "task_id": info.id, "attempt": info.attempt, **more}
