"""The tasks of the example: a sync function, and a static method.

Their lines are not synced: like tasks in memory, the last ones may be lost at a power cut.
"""

from app.files import make_folder, open_private
from app.settings import in_project
from app.tasks import task

LOG_FILE = "data/notifications.log"


@task
def write_log(message: str) -> None:
    """Append a line to the log file. A sync function: it runs in a thread of the task runner.

    Raises OSError when the file cannot be written, for example on a full disk.
    """
    path = in_project(LOG_FILE)
    make_folder(path.parent)
    line = message.replace("\r", "\\r").replace("\n", "\\n") + "\n"
    # One call of the system, so that tasks that run at the same time never tear a line apart.
    with open(path, "ab", opener=open_private) as file:
        file.write(line.encode())


class AuditLog:
    """Groups tasks; a static method is a task like any function."""

    @staticmethod
    @task(max_concurrency=1)
    def record(recipient: str) -> None:
        """Note that a notification was asked for."""
        write_log(f"audit: {recipient} was notified")
