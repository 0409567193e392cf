"""The head of a request, seen to before anything parses it."""

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import problem

MAX_HEAD_BYTES = 16 * 1024
"""Path, query and headers together. A server may take in more, to find out where the head ends."""
_MAX_BACKSLASHES = 64
"""In a cookie: Python before 3.11.10, 3.12.6 and 3.13.0 takes quadratic time to unquote them
(CVE-2024-7592), and FastAPI parses the cookies of every request."""


class RequestHeadMiddleware:
    """Refuses a head that would take long to parse, and answers HEAD wherever there is a GET."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif _is_too_large(scope):
            await _refuse(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, _without_body(send))
        else:
            await self._app(scope, receive, send)


def _is_too_large(scope: Scope) -> bool:
    size = len(scope["path"]) + len(scope["query_string"])
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name == b"cookie" and value.count(b"\\") > _MAX_BACKSLASHES:
            return True
    return size > MAX_HEAD_BYTES


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    detail = f"address and headers of a request may have {MAX_HEAD_BYTES} bytes"
    answer = problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
    await answer(scope, receive, send)


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        await send({**message, "body": b""} if "body" in message else message)

    return send_head
