"""`POST /notifications/{email}`: three ways to add a task; all run after the response."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from app.mail import EmailAddress
from app.tasks import Priority, Tasks

from .tasks import AuditLog, write_log

router = APIRouter(prefix="/notifications", tags=["notifications (example)"])


class Accepted(BaseModel):
    """The accepted tasks; none of them has run yet."""

    message: str
    task_ids: list[str]


def log_query(tasks: Tasks, q: Annotated[str | None, Query(max_length=200)] = None) -> list[str]:
    """Add a task in a dependency: it runs after the response, as those of the endpoint do."""
    return [] if q is None else [tasks.add_task(write_log, f"found query: {q}")]


@router.post("/{email}", status_code=202, summary="Log a notification in the background")
async def notify(
    email: EmailAddress, query_tasks: Annotated[list[str], Depends(log_query)], tasks: Tasks
) -> Accepted:
    """Answer at once; the log lines are written afterwards."""
    own_tasks = [
        tasks.add_task(write_log, f"message to {email}"),
        tasks.add_task(AuditLog.record, email, priority=Priority.LOW),
    ]
    return Accepted(message="notification accepted", task_ids=[*query_tasks, *own_tasks])
