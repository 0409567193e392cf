"""`POST /notifications/{email}`: three ways to add a task, all kept until the response is sent."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from app.mail import EmailAddress
from app.tasks import Priority, Tasks

from .tasks import AuditLog, write_log

router = APIRouter(prefix="/notifications", tags=["notifications (example)"])


class Accepted(BaseModel):
    """What was accepted; nothing of it has been done yet."""

    message: str
    task_ids: list[str]


def log_query(tasks: Tasks, q: Annotated[str | None, Query(max_length=200)] = None) -> list[str]:
    """Add a task in a dependency: it belongs to the request like those of the endpoint."""
    return [] if q is None else [tasks.add_task(write_log, f"found query: {q}")]


@router.post("/{email}", status_code=202, summary="Log a notification in the background")
async def notify(
    email: EmailAddress, query_tasks: Annotated[list[str], Depends(log_query)], tasks: Tasks
) -> Accepted:
    """Answer at once; the lines are written afterwards."""
    own_tasks = [
        tasks.add_task(write_log, f"message to {email}"),
        tasks.add_task(AuditLog.record, email, priority=Priority.LOW),
    ]
    return Accepted(message="notification accepted", task_ids=[*query_tasks, *own_tasks])
