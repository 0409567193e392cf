"""`/tasks`: what the tasks do; start a dead one over, cancel one."""

from dataclasses import fields

from fastapi import APIRouter, Request

from app.errors import Conflict, NotFound
from app.tasks import TaskRunner, TaskState

from .history import FAILURES, History, fields_of
from .schemas import Limits, LiveTask, TasksView, TaskView

_SHOWN = 100
_FAILURES_SHOWN = 20


def make_router(history: History) -> APIRouter:
    """Make the routes; `history` knows the tasks of this process that have ended."""
    router = APIRouter(prefix="/tasks", tags=["tasks"])

    @router.get("", summary="What runs and waits")
    async def read_tasks(request: Request) -> TasksView:
        """Show the runner of the process that answers, and the table that all processes share."""
        runner = _runner(request)
        snapshot = runner.snapshot(_SHOWN)
        tasks = [LiveTask.model_validate(task) for task in snapshot.tasks]
        return TasksView(
            **{field.name: getattr(snapshot, field.name) for field in fields(snapshot)},
            limits=Limits(**runner.settings.model_dump()),
            running_tasks=[task for task in tasks if task.state is TaskState.RUNNING],
            queued_tasks=[task for task in tasks if task.state is TaskState.QUEUED],
            recent_failures=await _recent_failures(runner, history),
            durable=await runner.store.counts(),
        )

    @router.get("/{task_id}", summary="What became of a task")
    async def read_task(request: Request, task_id: str) -> TaskView:
        """Show a durable task, or one of this process that has not ended long ago."""
        return await _find(_runner(request), history, task_id)

    @router.post("/{task_id}/retry", status_code=202, summary="Start a task over")
    async def retry_task(request: Request, task_id: str) -> TaskView:
        """Let a durable task that ended without success run again, with all its attempts."""
        is_retried = await _runner(request).retry_durable(task_id)
        view = await _find(_runner(request), history, task_id)
        if not is_retried:
            msg = f"the task is {view.state}; only a durable one that ended without success"
            raise Conflict(f"{msg} can be retried")
        return view

    @router.post("/{task_id}/cancel", status_code=202, summary="Cancel a task")
    async def cancel_task(request: Request, task_id: str) -> TaskView:
        """Cancel a task that waits or runs. A durable one may run in another process a while."""
        is_cancelled = await _runner(request).cancel_anywhere(task_id)
        view = await _find(_runner(request), history, task_id)
        if not is_cancelled:
            raise Conflict(f"the task is {view.state} and cannot be cancelled")
        return view

    return router


async def _recent_failures(runner: TaskRunner, history: History) -> list[TaskView]:
    failures = {task.id: task for task in history.failures(_FAILURES_SHOWN)}
    for record in await runner.store.recent(FAILURES, _FAILURES_SHOWN):
        failures[record.id] = TaskView.model_validate(record)
    oldest_first = sorted(failures.values(), key=lambda task: task.finished_at or task.created_at)
    return oldest_first[::-1][:_FAILURES_SHOWN]


async def _find(runner: TaskRunner, history: History, task_id: str) -> TaskView:
    record = await runner.record(task_id)
    info = runner.find(task_id)
    if record is not None:
        shown = TaskView.model_validate(record)
        if info is not None and info.progress is not None:  # the row has it when it is renewed
            shown.progress = info.progress
        return shown
    view = history.get(task_id) if info is None else TaskView(**fields_of(info))
    if view is None:
        raise NotFound("no such task: its id is wrong, or it ended long ago")
    return view


def _runner(request: Request) -> TaskRunner:
    runner: TaskRunner = request.app.state.runner
    return runner
