"""The tasks of the example: a sync function, and a static method.

Their lines are not synced: like tasks in memory, the last ones may be lost at a power cut.
"""

import os
from pathlib import Path

from app.files import make_folder, open_private
from app.tasks import task

from .settings import NotificationSettings


@task
def write_log(message: str) -> None:
    """Append a line to the log file. A sync function: it runs in a thread of the task runner.

    Raises OSError when the file cannot be written, for example on a full disk.
    """
    _append(NotificationSettings().log_file, message)


class AuditLog:
    """Groups tasks; a static method is a task like any function."""

    @staticmethod
    @task(max_concurrency=1)
    def record(recipient: str) -> None:
        """Note that a notification was asked for."""
        _append(NotificationSettings().log_file, f"audit: {recipient} was notified")


def _append(path: Path, message: str) -> None:
    """Append one line with one system call, so that concurrent tasks never tear it apart."""
    make_folder(path.parent)
    line = message.replace("\r", "\\r").replace("\n", "\\n") + "\n"
    descriptor = open_private(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        data = line.encode()
        written = os.write(descriptor, data)
    finally:
        os.close(descriptor)
    if written < len(data):
        msg = f"{path}: only {written} of {len(data)} bytes were written"
        raise OSError(msg)
