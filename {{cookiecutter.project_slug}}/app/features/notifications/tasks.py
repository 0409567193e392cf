"""The tasks of the example: a sync function, and a static method."""

import structlog

from app.tasks import task

logger = structlog.get_logger(__name__)


@task
def write_log(message: str) -> None:
    """Log a line. A sync function: it runs in a thread of the task runner."""
    logger.info(message)


class AuditLog:
    """A class with a task: a static method can be one, like any function."""

    @staticmethod
    @task(max_concurrency=1)
    def record(recipient: str) -> None:
        """Log that a notification was requested."""
        write_log(f"audit: {recipient} was notified")
