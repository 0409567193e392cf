"""`/tasks`: what runs and waits, what became of one, retry, cancel, pause and limits."""

from collections.abc import Awaitable
from dataclasses import fields
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request

from app.feature import Feature
from app.history import History
from app.settings import Settings
from app.tasks import TaskRecord, TaskRunner, TaskState, TaskType, UnknownTaskError
from app.tasks.info import FAILURES
from app.tasks.settings import TaskLimits
from app.urls import root_path

from .schemas import Retried, TaskDetail, TaskPage, TasksView

_SHOWN = 100
_FAILURES_SHOWN = 20
_PAGE = 50

Name = Annotated[str | None, Query(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Before = Annotated[str | None, Query(pattern=r"^[0-9]+([.][0-9]+)?_[!-~]+$")]
Failed = Literal[TaskState.FAILED, TaskState.TIMED_OUT, TaskState.DEAD, TaskState.CANCELLED]

router = APIRouter(prefix="/tasks", tags=["tasks"])


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    return Feature(name="tasks", router=router)


@router.get("", response_model=TasksView | TaskPage, summary="What runs and waits")
async def read_tasks(
    request: Request, state: TaskState | None = None, name: Name = None, before: Before = None
) -> Any:
    """Show the runner of the process that answers, and the table that all processes share.

    With `state`, `name` or `before` page through the table: 50 tasks, and a link to the next.
    """
    runner = _runner(request)
    if not (state is name is before is None):
        return await _read_page(request, state, name, before)
    snapshot = runner.snapshot(_SHOWN)
    return {
        **{field.name: getattr(snapshot, field.name) for field in fields(snapshot)},
        "running_tasks": [one for one in snapshot.tasks if one.state is TaskState.RUNNING],
        "queued_tasks": [one for one in snapshot.tasks if one.state is TaskState.QUEUED],
        "recent_failures": await _recent_failures(request),
        "durable": await runner.store.counts(),
        "types": runner.types(),
    }


# A name may contain slashes.
@router.post("/types/{name:path}/pause", status_code=202, summary="Pause a task")
async def pause(request: Request, name: str) -> TaskType:
    """Let nothing of a task start, in any process, until it is resumed. What runs goes on."""
    return await _change(request, name, _runner(request).pause(name))


@router.post("/types/{name:path}/resume", status_code=202, summary="Resume a task")
async def resume(request: Request, name: str) -> TaskType:
    """Let a paused task start again, within its limits."""
    return await _change(request, name, _runner(request).resume(name))


@router.put("/types/{name:path}/limits", status_code=202, summary="Change the limits of a task")
async def limit(request: Request, name: str, limits: TaskLimits) -> TaskType:
    """Change both limits, until they are changed again; null is what its settings say."""
    return await _change(request, name, _runner(request).limit(name, **limits.model_dump()))


@router.get("/{task_id}", summary="What became of a task")
async def read_task(request: Request, task_id: str) -> TaskDetail:
    """Show a durable task, or one of this process that has not ended long ago."""
    return await _find(request, task_id)


@router.post("/retry", status_code=202, summary="Start all tasks over that match")
async def retry_tasks(request: Request, state: Failed, name: Name = None) -> Retried:
    """Let all durable tasks that ended in a state, perhaps of one name, run again."""
    return Retried(retried=await _runner(request).retry_all(state, name))


@router.post("/{task_id}/retry", status_code=202, summary="Start a task over")
async def retry_task(request: Request, task_id: str) -> TaskDetail:
    """Let a durable task that ended without success run again, with all its attempts."""
    is_retried = await _runner(request).retry_durable(task_id)
    task = await _find(request, task_id)
    if not is_retried:
        msg = f"the task is {task.state}; only a durable one that ended without success"
        raise HTTPException(409, f"{msg} can be retried")
    return task


@router.post("/{task_id}/cancel", status_code=202, summary="Cancel a task")
async def cancel_task(request: Request, task_id: str) -> TaskDetail:
    """Cancel a task that waits or runs. A durable one may run in another process a while."""
    is_cancelled = await _runner(request).cancel_anywhere(task_id)
    task = await _find(request, task_id)
    if not is_cancelled:
        raise HTTPException(409, f"the task is {task.state} and cannot be cancelled")
    return task


async def _read_page(
    request: Request, state: TaskState | None, name: str | None, before: str | None
) -> dict[str, Any]:
    tasks, following = await _runner(request).store.page(state, name, before, _PAGE)
    link = None
    if following is not None:
        url = request.url.include_query_params(before=following)
        link = f"{root_path(request.scope)}/tasks?{url.query}"
    return {"tasks": tasks, "next": link}


async def _recent_failures(request: Request) -> list[TaskRecord]:
    history: History = request.app.state.history
    here = [task for task in history.failures() if task.state in FAILURES][:_FAILURES_SHOWN]
    durable = await _runner(request).store.recent(FAILURES, _FAILURES_SHOWN)
    failures = {task.id: task for task in (*here, *durable)}
    newest_first = sorted(failures.values(), key=lambda one: one.finished_at or 0.0, reverse=True)
    return newest_first[:_FAILURES_SHOWN]


async def _change(request: Request, name: str, change: Awaitable[None]) -> TaskType:
    try:
        await change
    except UnknownTaskError as error:
        raise HTTPException(404, str(error)) from None
    (changed,) = (one for one in _runner(request).types() if one.name == name)
    return changed


async def _find(request: Request, task_id: str) -> TaskDetail:
    history: History = request.app.state.history
    record = await _runner(request).describe(task_id) or history.get(task_id)
    if record is None:
        raise HTTPException(404, "no such task: its id is wrong, or it ended long ago")
    return TaskDetail.model_validate(record, from_attributes=True)


def _runner(request: Request) -> TaskRunner:
    runner: TaskRunner = request.app.state.runner
    return runner
