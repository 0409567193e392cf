"""Errors as pages: an upload that failed shows the form again, with what was entered."""

import json
from typing import Any

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ProblemResponse
from app.pages import prefers_html
from app.urls import route_path

from .pages import PREFIX, problem_page, upload_page

_KEPT = ("Retry-After", "WWW-Authenticate")
_FORBIDDEN = 403


async def remember_entry(request: Request) -> None:
    """Keep the address of a form for the page that may have to show it again."""
    entered = (await request.form()).get("email")
    request.state.entered_email = entered if isinstance(entered, str) else ""


class ProblemPages:
    """Turns problem documents of `/reports` into pages for callers who prefer pages.

    Around everything, since the server itself answers a body that is too large.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or not _is_ours(route_path(scope)):
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})  # shared with the request that the endpoint sees
        request = Request(scope)
        problem: list[Message] = []
        is_page = prefers_html(request)

        async def send_page(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers.add_vary_header("Accept")
                message["headers"] = headers.raw
            if is_page and (problem or _is_problem(message)):
                problem.append(message)
                if not message.get("more_body", message["type"] == "http.response.start"):
                    await _page(request, problem)(scope, receive, send)
            else:
                await send(message)

        await self._app(scope, receive, send_page)


def _is_ours(path: str) -> bool:
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def _is_problem(message: Message) -> bool:
    if message["type"] != "http.response.start":
        return False
    content_type = MutableHeaders(raw=message["headers"]).get("Content-Type", "")
    return content_type == ProblemResponse.media_type


def _page(request: Request, messages: list[Message]) -> Response:
    start, *bodies = messages
    problem: dict[str, Any] = json.loads(b"".join(message["body"] for message in bodies))
    if request.method == "POST" and problem["status"] != _FORBIDDEN:
        email = getattr(request.state, "entered_email", "")
        response = upload_page(request, [], problem=problem, email=email)
    else:
        response = problem_page(request, problem)
    headers = MutableHeaders(raw=start["headers"])
    for name in _KEPT:
        if name in headers:
            response.headers[name] = headers[name]
    response.headers.add_vary_header("Accept")
    return response
