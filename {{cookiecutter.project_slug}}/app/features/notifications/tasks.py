"""The tasks of the example: a sync function, and a static method."""

import structlog

from app.tasks import task

logger = structlog.get_logger(__name__)


@task
def write_log(message: str) -> None:
    """Log a line. A sync function: it runs in a thread of the task runner."""
    logger.info(message)


class AuditLog:
    """Groups tasks; a static method is a task like any function."""

    @staticmethod
    @task(max_concurrency=1)
    def record(recipient: str) -> None:
        """Note that a notification was asked for."""
        write_log(f"audit: {recipient} was notified")
