"""`GET /dashboard`, and what its buttons do."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BeforeValidator

from app.errors import Unprocessable
from app.pages import StaticFolder, render_page
from app.tasks import TaskRunner, TaskState, UnknownTaskError
from app.urls import root_path

from .activity import RecentActivity
from .view import make_list, make_task, make_view

TEMPLATES = Path(__file__).with_name("templates")
_STATIC = Path(__file__).with_name("static")
_NOTICES = {
    "cancelled": "The task is cancelled.",
    "not-cancelled": "The task could not be cancelled: it has ended, or it runs in a thread, which "
    "cannot be stopped.",
    "retried": "The task starts over.",
    "all-retried": "Tasks that start over: {:,}.",
    "not-retried": "The task could not be started over: it is not a durable one that has ended "
    "without success.",
    "paused": "Nothing more of the task starts, in any process.",
    "resumed": "The task starts again.",
    "unknown": "There is no such task.",
}

Action = Literal["cancel", "retry", "pause", "resume"]
_TEXT: dict[str, Any] = {"max_length": 200, "pattern": r"^[^\x00]*$"}
# A form sends a field that nobody has filled in as an empty text.
State = Annotated[TaskState | None, Query(), BeforeValidator(lambda value: value or None)]


def make_router(activity: RecentActivity) -> APIRouter:
    """Make the routes."""
    router = APIRouter(include_in_schema=False)
    router.mount("/static/dashboard", StaticFolder(_STATIC))

    @router.get("/dashboard")
    async def show_dashboard(request: Request, notice: str = "", number: int = 0) -> Response:
        view = await make_view(_runner(request), activity)
        text = _NOTICES.get(notice, "").format(number)
        return render_page(request, TEMPLATES, "dashboard.html.j2", {**view, "notice": text})

    @router.get("/dashboard/tasks")
    async def show_tasks(
        request: Request,
        state: State = None,
        name: Annotated[str, Query(**_TEXT)] = "",
        before: str | None = None,
    ) -> Response:
        try:
            context = await make_list(_runner(request), state, name or None, before)
        except ValueError:
            msg = "`before` is not what the page before has given"
            raise Unprocessable(msg) from None
        return render_page(request, TEMPLATES, "tasks.html.j2", context)

    @router.get("/dashboard/tasks/{task_id}")
    async def show_task(request: Request, task_id: str) -> Response:
        context = await make_task(_runner(request), activity, task_id)
        status = HTTPStatus.OK if context["task"] else HTTPStatus.NOT_FOUND
        return render_page(request, TEMPLATES, "task.html.j2", context, status)

    @router.post("/dashboard/retry-all")
    async def retry_all(
        request: Request,
        state: Annotated[TaskState, Form()],
        name: Annotated[str, Form(**_TEXT)] = "",
    ) -> Response:
        number = await _runner(request).retry_all(state, name or None)
        return _back(request, f"all-retried&number={number}")

    @router.post("/dashboard/{action}")
    async def act(
        request: Request, action: Action, task: Annotated[str, Form(**_TEXT)]
    ) -> Response:
        return _back(request, await _act(_runner(request), action, task))

    return router


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


def _back(request: Request, notice: str) -> RedirectResponse:
    path = f"{root_path(request.scope)}/dashboard?notice={notice}"
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def _runner(request: Request) -> TaskRunner:
    runner: TaskRunner = request.app.state.runner
    return runner
