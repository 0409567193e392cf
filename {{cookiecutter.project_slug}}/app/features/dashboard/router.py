"""`GET /dashboard`, its live events, and what its buttons do."""

from collections.abc import AsyncIterable, Awaitable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.pages import StaticFolder, render_page
from app.tasks import TaskRunner, UnknownTaskError
from app.urls import root_path

from .live import SECTIONS, TEMPLATES, Live
from .recorder import Recorder
from .view import make_view

_STATIC = Path(__file__).with_name("static")
_NOTICES = {
    "cancelled": "The task is cancelled.",
    "not-cancelled": "The task could not be cancelled: it has ended, or it runs in a thread, which "
    "cannot be stopped.",
    "retried": "The task starts over.",
    "not-retried": "The task could not be started over: it is not a durable one that has ended "
    "without success.",
    "paused": "Nothing more of the task starts, in any process.",
    "resumed": "The task starts again.",
    "unknown": "There is no such task.",
}

TaskId = Annotated[str, Form(alias="task", max_length=64, pattern=r"^[\w-]+$")]
TaskName = Annotated[str, Form(alias="task", max_length=200)]


def make_router(recorder: Recorder, live: Live) -> APIRouter:
    """Make the routes."""
    router = APIRouter(include_in_schema=False)
    router.mount("/static/dashboard", StaticFolder(_STATIC))

    @router.get("/dashboard")
    async def show_dashboard(request: Request, notice: str = "") -> Response:
        view = await make_view(_runner(request), recorder)
        context = {**view, "sections": SECTIONS, "notice": _NOTICES.get(notice, "")}
        return render_page(request, TEMPLATES, "dashboard.html.j2", context)

    @router.get(
        "/dashboard/events",
        response_class=EventSourceResponse,
        dependencies=[Depends(live.count_page)],
    )
    async def stream_changes() -> AsyncIterable[ServerSentEvent]:
        async for name, html in live.changes():
            yield ServerSentEvent(event=name, raw_data=html)

    @router.post("/dashboard/cancel")
    async def cancel(request: Request, task_id: TaskId) -> Response:
        runner = _runner(request)
        done = await runner.cancel_anywhere(task_id)
        return _back(request, "cancelled" if done else "not-cancelled")

    @router.post("/dashboard/retry")
    async def retry(request: Request, task_id: TaskId) -> Response:
        done = await _runner(request).retry_durable(task_id)
        return _back(request, "retried" if done else "not-retried")

    @router.post("/dashboard/pause")
    async def pause(request: Request, name: TaskName) -> Response:
        return await _change(request, _runner(request).pause(name), "paused")

    @router.post("/dashboard/resume")
    async def resume(request: Request, name: TaskName) -> Response:
        return await _change(request, _runner(request).resume(name), "resumed")

    return router


async def _change(request: Request, change: Awaitable[None], notice: str) -> Response:
    try:
        await change
    except UnknownTaskError:
        notice = "unknown"
    return _back(request, notice)


def _back(request: Request, notice: str) -> RedirectResponse:
    path = f"{root_path(request.scope)}/dashboard?notice={notice}"
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def _runner(request: Request) -> TaskRunner:
    runner: TaskRunner = request.app.state.runner
    return runner
