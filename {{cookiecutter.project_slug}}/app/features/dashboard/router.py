"""`GET /dashboard`, and what its buttons do."""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from app.logs import request_id_of
from app.pages import StaticFolder, render_page
from app.tasks import UNSUCCESSFUL, TaskRunner, TaskState, UnknownTaskError, describe_arguments
from app.urls import root_path

from .view import ago, make_view, seconds

TEMPLATES = Path(__file__).with_name("templates")
_STATIC = Path(__file__).with_name("static")
_LISTED = 50
_NOTICES = {
    "cancelled": "The task is cancelled.",
    "not-cancelled": "The task could not be cancelled: it has ended, or it runs in a thread, which "
    "cannot be stopped.",
    "retried": "The task starts over.",
    "all-retried": "The tasks start over.",
    "not-retried": "The task could not be started over: it is not a durable one that has ended "
    "without success.",
    "paused": "Nothing more of the task starts, in any process.",
    "resumed": "The task starts again.",
    "unknown": "There is no such task.",
}

Action = Literal["cancel", "retry", "pause", "resume"]
Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]

router = APIRouter(include_in_schema=False)
router.mount("/static/dashboard", StaticFolder(_STATIC))


@router.get("/dashboard")
async def show_dashboard(request: Request, notice: str = "") -> Response:
    """Show what the tasks do, and the notice of the button that led here."""
    state = request.app.state
    view = await make_view(state.runner, state.history, state.snapshots)
    return _render(request, "dashboard.html.j2", {**view, "notice": _NOTICES.get(notice)})


@router.get("/dashboard/tasks")
async def show_tasks(
    request: Request,
    state: TaskState | Literal[""] = "",
    name: Text = "",
    before: Annotated[str | None, Query(pattern=r"^[0-9]+([.][0-9]+)?_[!-~]+$")] = None,
) -> Response:
    """List durable tasks; a form sends a field that nobody has filled in as an empty text."""
    runner = _runner(request)
    tasks, following = await runner.store.page(state or None, name or None, before, _LISTED)
    retryable = 0
    if state and state in UNSUCCESSFUL:
        retryable = await runner.store.count(state, name or None)
    context = {
        "tasks": tasks,
        "state": state,
        "name": name,
        "following": following,
        "states": [*TaskState],
        "names": sorted({task.name for task in runner.tasks if task.durable} | {name, ""}),
        "retryable": retryable,
        "counted": runner.store.COUNTED,
    }
    return _render(request, "tasks.html.j2", context)


@router.get("/dashboard/tasks/{task_id}")
async def show_task(request: Request, task_id: str) -> Response:
    """Show one task with all that is known of it."""
    runner = _runner(request)
    task = await runner.describe(task_id) or request.app.state.history.get(task_id)
    if task is None:
        return _render(request, "task.html.j2", {"task": None}, HTTPStatus.NOT_FOUND)
    context = {
        "task": task,
        "arguments": describe_arguments(task.arguments),
        "request_id": request_id_of(task.context),
        "retryable": task.state in UNSUCCESSFUL and await runner.store.get(task_id),
    }
    return _render(request, "task.html.j2", context)


@router.post("/dashboard/retry-all")
async def retry_all(
    request: Request, state: Annotated[TaskState, Form()], name: Annotated[Text, Form()] = ""
) -> Response:
    """Let all durable tasks in a state, perhaps of one name, run again."""
    await _runner(request).retry_all(state, name or None)
    return _back(request, "all-retried")


@router.post("/dashboard/{action}")
async def act(request: Request, action: Action, task: Annotated[Text, Form()]) -> Response:
    """Do what a button says, and lead back to the page."""
    return _back(request, await _act(_runner(request), action, task))


async def _act(runner: TaskRunner, action: Action, task: str) -> str:
    """Do what a button says with a task, given by its id or its name; return the notice."""
    if action == "cancel":
        return "cancelled" if await runner.cancel_anywhere(task) else "not-cancelled"
    if action == "retry":
        return "retried" if await runner.retry_durable(task) else "not-retried"
    try:
        await (runner.pause(task) if action == "pause" else runner.resume(task))
    except UnknownTaskError:
        return "unknown"
    return f"{action}d"


def _render(
    request: Request, name: str, context: Mapping[str, Any], status: int = HTTPStatus.OK
) -> Response:
    words = {"ago": ago, "seconds": seconds}
    return render_page(request, TEMPLATES, name, {**words, **context}, status)


def _back(request: Request, notice: str) -> RedirectResponse:
    path = f"{root_path(request.scope)}/dashboard?notice={notice}"
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def _runner(request: Request) -> TaskRunner:
    runner: TaskRunner = request.app.state.runner
    return runner
