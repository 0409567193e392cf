"""`/tasks`: what the tasks do; start a dead one over, cancel one, pause and limit all of a name."""

from collections.abc import Awaitable
from dataclasses import fields
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from app.errors import Conflict, NotFound, Unprocessable
from app.tasks import TaskRecord, TaskRunner, TaskState, TaskType, UnknownTaskError
from app.tasks.info import FAILURES
from app.tasks.settings import TaskLimits
from app.urls import root_path

from .history import History
from .schemas import Retried, TaskDetail, TaskPage, TasksView, TaskTypeView

_SHOWN = 100
_FAILURES_SHOWN = 20
_PAGE = 50

Name = Annotated[str | None, Query(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Failed = Literal[TaskState.FAILED, TaskState.TIMED_OUT, TaskState.DEAD, TaskState.CANCELLED]


def make_router(history: History) -> APIRouter:
    """Make the routes; `history` knows the tasks of this process that have ended."""
    router = APIRouter(prefix="/tasks", tags=["tasks"])

    @router.get("", response_model=TasksView | TaskPage, summary="What runs and waits")
    async def read_tasks(
        request: Request,
        state: TaskState | None = None,
        name: Name = None,
        before: str | None = None,
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
            "limits": runner.settings,
            "running_tasks": [one for one in snapshot.tasks if one.state is TaskState.RUNNING],
            "queued_tasks": [one for one in snapshot.tasks if one.state is TaskState.QUEUED],
            "recent_failures": await _recent_failures(runner, history),
            "durable": await runner.store.counts(),
            "types": runner.types(),
        }

    _add_types(router)

    @router.get("/{task_id}", response_model=TaskDetail, summary="What became of a task")
    async def read_task(request: Request, task_id: str) -> TaskRecord:
        """Show a durable task, or one of this process that has not ended long ago."""
        return await _find(_runner(request), history, task_id)

    @router.post("/retry", status_code=202, summary="Start all tasks over that match")
    async def retry_tasks(request: Request, state: Failed, name: Name = None) -> Retried:
        """Let all durable tasks that ended in a state, perhaps of one name, run again."""
        return Retried(retried=await _runner(request).retry_all(state, name))

    changed: dict[str, Any] = {"status_code": 202, "response_model": TaskDetail}

    @router.post("/{task_id}/retry", **changed, summary="Start a task over")
    async def retry_task(request: Request, task_id: str) -> TaskRecord:
        """Let a durable task that ended without success run again, with all its attempts."""
        is_retried = await _runner(request).retry_durable(task_id)
        task = await _find(_runner(request), history, task_id)
        if not is_retried:
            msg = f"the task is {task.state}; only a durable one that ended without success"
            raise Conflict(f"{msg} can be retried")
        return task

    @router.post("/{task_id}/cancel", **changed, summary="Cancel a task")
    async def cancel_task(request: Request, task_id: str) -> TaskRecord:
        """Cancel a task that waits or runs. A durable one may run in another process a while."""
        is_cancelled = await _runner(request).cancel_anywhere(task_id)
        task = await _find(_runner(request), history, task_id)
        if not is_cancelled:
            raise Conflict(f"the task is {task.state} and cannot be cancelled")
        return task

    return router


def _add_types(router: APIRouter) -> None:
    changed: dict[str, Any] = {"status_code": 202, "response_model": TaskTypeView}

    # A name may contain slashes.
    @router.post("/types/{name:path}/pause", **changed, summary="Pause a task")
    async def pause(request: Request, name: str) -> TaskType:
        """Let nothing of a task start, in any process, until it is resumed. What runs goes on."""
        return await _change(request, name, _runner(request).pause(name))

    @router.post("/types/{name:path}/resume", **changed, summary="Resume a task")
    async def resume(request: Request, name: str) -> TaskType:
        """Let a paused task start again, within its limits."""
        return await _change(request, name, _runner(request).resume(name))

    @router.put("/types/{name:path}/limits", **changed, summary="Change the limits of a task")
    async def limit(request: Request, name: str, limits: TaskLimits) -> TaskType:
        """Change both limits, until they are changed again; null is what its settings say."""
        return await _change(request, name, _runner(request).limit(name, **limits.model_dump()))


async def _recent_failures(runner: TaskRunner, history: History) -> list[TaskRecord]:
    failures = {task.id: task for task in history.failures(_FAILURES_SHOWN)}
    durable = await runner.store.recent(FAILURES, _FAILURES_SHOWN)
    failures.update((task.id, task) for task in durable)
    oldest_first = sorted(failures.values(), key=lambda task: task.finished_at or task.created_at)
    return oldest_first[::-1][:_FAILURES_SHOWN]


async def _change(request: Request, name: str, change: Awaitable[None]) -> TaskType:
    try:
        await change
    except UnknownTaskError as error:
        raise NotFound(str(error)) from None
    (changed,) = (one for one in _runner(request).types() if one.name == name)
    return changed


async def _read_page(
    request: Request, state: TaskState | None, name: str | None, before: str | None
) -> dict[str, Any]:
    try:
        tasks, following = await _runner(request).store.page(state, name, before, _PAGE)
    except ValueError:
        msg = "`before` is not what the page before has given"
        raise Unprocessable(msg) from None
    link = None
    if following is not None:
        url = request.url.include_query_params(before=following)
        link = f"{root_path(request.scope)}/tasks?{url.query}"
    return {"tasks": tasks, "next": link}


async def _find(runner: TaskRunner, history: History, task_id: str) -> TaskRecord:
    record = await runner.describe(task_id) or history.get(task_id)
    if record is None:
        raise NotFound("no such task: its id is wrong, or it ended long ago")
    return record


def _runner(request: Request) -> TaskRunner:
    runner: TaskRunner = request.app.state.runner
    return runner
