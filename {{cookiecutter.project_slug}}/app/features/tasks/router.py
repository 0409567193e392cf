"""`/tasks`: what the tasks do; start a dead one over, cancel one."""

from dataclasses import asdict, fields
from datetime import datetime

from fastapi import APIRouter, Request

from app.errors import Conflict, NotFound
from app.tasks import TaskRunner, TaskState

from .history import History, view_of
from .schemas import Limits, LiveTask, PeriodicView, TasksView, TaskView

_SHOWN = 100
_FAILURES_SHOWN = 20
_FAILED = (TaskState.FAILED, TaskState.TIMED_OUT, TaskState.DEAD)


def make_router(history: History) -> APIRouter:
    """Make the routes; `history` knows the tasks of this process that have ended."""
    router = APIRouter(prefix="/tasks", tags=["tasks"])

    @router.get("", summary="What runs and waits")
    async def read_tasks(request: Request) -> TasksView:
        """Show the runner of the process that answers, and the table that all processes share."""
        runner = _runner(request)
        snapshot = runner.snapshot(_SHOWN)
        totals = {f.name: getattr(snapshot, f.name) for f in fields(snapshot) if f.name != "tasks"}
        running = [task for task in snapshot.tasks if task.state is TaskState.RUNNING]
        queued = [task for task in snapshot.tasks if task.state is TaskState.QUEUED]
        return TasksView(
            **totals,
            limits=Limits(**runner.settings.model_dump(include=set(Limits.model_fields))),
            running_tasks=[LiveTask(**asdict(task)) for task in running],
            queued_tasks=[LiveTask(**asdict(task)) for task in queued],
            periodic=[PeriodicView(**asdict(task)) for task in runner.periodic()],
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
        runner = _runner(request)
        if not await runner.retry_durable(task_id):
            view = await _find(runner, history, task_id)
            msg = f"the task is {view.state}; only a durable one that ended without success"
            raise Conflict(f"{msg} can be retried")
        return await _find(runner, history, task_id)

    @router.post("/{task_id}/cancel", status_code=202, summary="Cancel a task")
    async def cancel_task(request: Request, task_id: str) -> TaskView:
        """Cancel a task that waits or runs. A durable one may run in another process a while."""
        runner = _runner(request)
        if not await runner.cancel_anywhere(task_id):
            view = await _find(runner, history, task_id)
            msg = f"the task is {view.state} and cannot be cancelled"
            raise Conflict(msg)
        return await _find(runner, history, task_id)

    return router


async def _recent_failures(runner: TaskRunner, history: History) -> list[TaskView]:
    failures = {task.id: task for task in history.failures(_FAILURES_SHOWN)}
    for record in await runner.store.recent(_FAILED, _FAILURES_SHOWN):
        failures[record.id] = TaskView.of_record(record)
    newest_first = sorted(failures.values(), key=_end, reverse=True)
    return newest_first[:_FAILURES_SHOWN]


def _end(task: TaskView) -> datetime:
    return task.finished_at or task.created_at


async def _find(runner: TaskRunner, history: History, task_id: str) -> TaskView:
    record = await runner.record(task_id)
    if record is not None:
        return TaskView.of_record(record)
    info = runner.find(task_id)
    view = history.get(task_id) if info is None else view_of(info)
    if view is None:
        msg = "no such task: its id is wrong, or it ended long ago"
        raise NotFound(msg)
    return view


def _runner(request: Request) -> TaskRunner:
    runner: TaskRunner = request.app.state.runner
    return runner
