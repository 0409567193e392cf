"""`/tasks`: running, waiting and ended tasks; retry, cancel, pause and limits."""

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
Failed = Literal["failed", "timed_out", "dead", "cancelled"]

router = APIRouter(prefix="/tasks", tags=["tasks"])


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    return Feature(name="tasks", router=router)


@router.get("", response_model=TasksView | TaskPage, summary="Show running and waiting tasks")
async def read_tasks(
    request: Request, state: TaskState | None = None, name: Name = None, before: Before = None
) -> Any:
    """Show the tasks of the process that answers, and the durable tasks of all processes.

    With `state`, `name` or `before`, list 50 durable tasks, with a link to the next ones.
    """
    runner = _runner(request)
    if not (state is name is before is None):
        return await _read_page(request, state, name, before)
    snapshot = runner.snapshot(_SHOWN)
    return {
        **{field.name: getattr(snapshot, field.name) for field in fields(snapshot)},
        "running_tasks": [task for task in snapshot.tasks if task.state is TaskState.RUNNING],
        "queued_tasks": [task for task in snapshot.tasks if task.state is TaskState.QUEUED],
        "recent_failures": await _recent_failures(request),
        "durable": await runner.store.counts(),
        "types": runner.types(),
    }


# `:path`, because a name may contain slashes.
@router.post("/types/{name:path}/pause", status_code=202, summary="Pause a task")
async def pause(request: Request, name: str) -> TaskType:
    """Start no more runs of a task, in any process, until it is resumed. Current runs go on."""
    return await _change(request, name, _runner(request).pause(name))


@router.post("/types/{name:path}/resume", status_code=202, summary="Resume a task")
async def resume(request: Request, name: str) -> TaskType:
    """Allow a paused task to run again, within its limits."""
    return await _change(request, name, _runner(request).resume(name))


@router.put("/types/{name:path}/limits", status_code=202, summary="Change the limits of a task")
async def limit(request: Request, name: str, limits: TaskLimits) -> TaskType:
    """Set both limits until they are changed again; null restores what is configured."""
    return await _change(request, name, _runner(request).limit(name, **limits.model_dump()))


@router.get("/{task_id}", summary="Show a task")
async def read_task(request: Request, task_id: str) -> TaskDetail:
    """Show a durable task, or one of this process that waits, runs or has ended recently."""
    return await _find(request, task_id)


@router.post("/retry", status_code=202, summary="Retry all tasks that match")
async def retry_tasks(request: Request, state: Failed, name: Name = None) -> Retried:
    """Run all durable tasks again that ended in `state`, optionally only those with `name`."""
    return Retried(retried=await _runner(request).retry_all(TaskState(state), name))


@router.post("/{task_id}/retry", status_code=202, summary="Retry a task")
async def retry_task(request: Request, task_id: str) -> TaskDetail:
    """Run a durable task again after it ended without success; its attempts restart from 0."""
    is_retried = await _runner(request).retry_durable(task_id)
    task = await _find(request, task_id)
    if not is_retried:
        msg = f"the task is {task.state}; only a durable task that ended without success"
        raise HTTPException(409, f"{msg} can be retried")
    return task


@router.post("/{task_id}/cancel", status_code=202, summary="Cancel a task")
async def cancel_task(request: Request, task_id: str) -> TaskDetail:
    """Cancel a waiting or running task. In another process, it may run on for a while."""
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
    newest_first = sorted(failures.values(), key=lambda task: task.finished_at or 0.0, reverse=True)
    return newest_first[:_FAILURES_SHOWN]


async def _change(request: Request, name: str, change: Awaitable[None]) -> TaskType:
    try:
        await change
    except UnknownTaskError as error:
        raise HTTPException(404, str(error)) from None
    (task_type,) = (type_ for type_ in _runner(request).types() if type_.name == name)
    return task_type


async def _find(request: Request, task_id: str) -> TaskDetail:
    history: History = request.app.state.history
    record = await _runner(request).describe(task_id) or history.get(task_id)
    if record is None:
        raise HTTPException(404, "no such task: its id is wrong, or it ended long ago")
    return TaskDetail.model_validate(record, from_attributes=True)


def _runner(request: Request) -> TaskRunner:
    runner: TaskRunner = request.app.state.runner
    return runner
