"""The task page, at `/dashboard`: what the background tasks do, and buttons to steer them.

- `activity.py` remembers the last ten minutes, for the charts
- `view.py` puts together what the templates show

The script of the page asks for it again every two seconds.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from app.db.readiness import NO_ANSWER
from app.feature import Feature
from app.logs import request_id_of
from app.pages import StaticFolder, render_page
from app.settings import Settings
from app.tasks import UNSUCCESSFUL, TaskRunner, TaskState, UnknownTaskError, describe_arguments
from app.urls import root_path

from .activity import sampling
from .view import ago, make_view, seconds

TEMPLATES = Path(__file__).with_name("templates")
_STATIC = Path(__file__).with_name("static")
_LISTED = 50
_NOTICES = {
    "cancel": "The task is cancelled.",
    "not-cancel": "The task could not be cancelled: it has ended, or it runs in a thread, which "
    "cannot be stopped.",
    "retry": "The task starts over.",
    "not-retry": "The task could not be started over: it is not a durable one that has ended "
    "without success.",
    "retry-all": "The tasks start over.",
    "pause": "Nothing more of the task starts, in any process.",
    "resume": "The task starts again.",
    "unknown": "There is no such task.",
}

Action = Literal["cancel", "retry", "pause", "resume"]
Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


async def _find_runner(request: Request) -> TaskRunner:
    """Return the runner, unless a database that hangs would hang whoever uses it."""
    state = request.app.state
    if await state.readiness.cause(state.database.check) == NO_ANSWER:
        raise HTTPException(503, NO_ANSWER)
    runner: TaskRunner = state.runner
    return runner


Runner = Annotated[TaskRunner, Depends(_find_runner)]
router = APIRouter(include_in_schema=False)
router.mount("/static/dashboard", StaticFolder(_STATIC))


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    return Feature(
        name="dashboard",
        router=router,
        links={"/dashboard": "Tasks"},
        polled=["/dashboard"],
        lifespan=sampling,
    )


@router.get("/dashboard")
async def show_dashboard(request: Request, notice: str = "") -> Response:
    """Show what the tasks do, and the notice of the button that led here."""
    state = request.app.state
    trouble = await state.readiness.cause(state.database.check)
    view = await make_view(state.runner, state.history, state.snapshots, trouble)
    return _render(request, "dashboard.html.j2", {**view, "notice": _NOTICES.get(notice)})


@router.get("/dashboard/tasks")
async def show_tasks(
    request: Request,
    runner: Runner,
    state: TaskState | Literal[""] = "",
    name: Text = "",
    before: Annotated[str | None, Query(pattern=r"^[0-9]+([.][0-9]+)?_[!-~]+$")] = None,
) -> Response:
    """List durable tasks; a form sends a field that nobody has filled in as an empty text."""
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
async def show_task(request: Request, runner: Runner, task_id: str) -> Response:
    """Show one task with all that is known of it."""
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
    request: Request,
    runner: Runner,
    state: Annotated[TaskState, Form()],
    name: Annotated[Text, Form()] = "",
) -> Response:
    """Let all durable tasks in a state, perhaps of one name, run again."""
    await runner.retry_all(state, name or None)
    return _back(request, "retry-all")


@router.post("/dashboard/{action}")
async def act(
    request: Request, runner: Runner, action: Action, task: Annotated[Text, Form()]
) -> Response:
    """Do what a button says with a task, given by its id or its name."""
    actions: dict[Action, Callable[[str], Awaitable[bool | None]]] = {
        "cancel": runner.cancel_anywhere,
        "retry": runner.retry_durable,
        "pause": runner.pause,
        "resume": runner.resume,
    }
    try:
        done = await actions[action](task)
    except UnknownTaskError:
        return _back(request, "unknown")
    return _back(request, f"not-{action}" if done is False else action)


def _render(
    request: Request, name: str, context: Mapping[str, Any], status: int = HTTPStatus.OK
) -> Response:
    words = {"ago": ago, "seconds": seconds}
    return render_page(request, TEMPLATES, name, {**words, **context}, status)


def _back(request: Request, notice: str) -> RedirectResponse:
    """Lead back to the page."""
    path = f"{root_path(request.scope)}/dashboard?notice={notice}"
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)
