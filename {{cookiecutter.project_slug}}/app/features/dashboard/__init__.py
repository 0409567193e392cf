"""The task page at `/dashboard`: the state of the background tasks, and buttons to control them.

- `activity.py` remembers the last ten minutes, for the charts
- `view.py` prepares the variables of the templates

The script of the page fetches it again every two seconds.
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
    "retry": "The task will run again.",
    "not-retry": "The task could not be retried: it is not a durable task that has ended without "
    "success.",
    "retry-all": "The tasks will run again.",
    "pause": "The task is paused in all processes; current runs go on.",
    "resume": "The task is resumed in all processes.",
    "unknown": "There is no such task.",
}

Action = Literal["cancel", "retry", "pause", "resume"]
Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]


async def _find_runner(request: Request) -> TaskRunner:
    """Return the runner; raise 503 if the database does not answer, since queries would hang."""
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
    """Show the task page, with the notice of the button that led here."""
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
    """List durable tasks; the form sends "" for any state and any name."""
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
    """Show one task with all details."""
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
    """Run all durable tasks in a state again, optionally only those of one name."""
    await runner.retry_all(state, name or None)
    return _redirect(request, "retry-all")


@router.post("/dashboard/{action}")
async def act(
    request: Request, runner: Runner, action: Action, task: Annotated[Text, Form()]
) -> Response:
    """Do the action of a button with a task, which is given by its id or its name."""
    actions: dict[Action, Callable[[str], Awaitable[bool | None]]] = {
        "cancel": runner.cancel_anywhere,
        "retry": runner.retry_durable,
        "pause": runner.pause,
        "resume": runner.resume,
    }
    try:
        done = await actions[action](task)
    except UnknownTaskError:
        return _redirect(request, "unknown")
    return _redirect(request, f"not-{action}" if done is False else action)


def _render(
    request: Request, name: str, context: Mapping[str, Any], status: int = HTTPStatus.OK
) -> Response:
    formats = {"ago": ago, "seconds": seconds}
    return render_page(request, TEMPLATES, name, {**formats, **context}, status)


def _redirect(request: Request, notice: str) -> RedirectResponse:
    """Redirect to the task page."""
    path = f"{root_path(request.scope)}/dashboard?notice={notice}"
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)
