"""The head of a request, seen to before anything parses it."""

from http import HTTPStatus

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import problem

MAX_HEAD_BYTES = 16 * 1024
"""Path, query and headers together. A server may take in more, to find out where the head ends."""
_MAX_PARTS = 200
"""Parameters of a query, and cookies: each costs some microseconds, whatever its length."""
_MAX_BACKSLASHES = 64
"""In a cookie: Python before 3.11.10, 3.12.6 and 3.13.0 takes quadratic time to unquote them
(CVE-2024-7592), and FastAPI parses the cookies of every request."""
_MAX_CONTENT_TYPE = 256
"""Bytes. Python parses its parameters in quadratic time, and keeps the name of every charset."""


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
    query = scope["query_string"]
    size = len(scope["path"]) + len(query)
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name == b"cookie" and _is_costly(value):
            return True
        if name == b"content-type" and len(value) > _MAX_CONTENT_TYPE:
            return True
    return size > MAX_HEAD_BYTES or query.count(b"&") >= _MAX_PARTS


def _is_costly(cookies: bytes) -> bool:
    return cookies.count(b";") >= _MAX_PARTS or cookies.count(b"\\") > _MAX_BACKSLASHES


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    detail = f"the head is too large: {MAX_HEAD_BYTES} bytes, {_MAX_PARTS} parameters or cookies"
    answer = problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
    await answer(scope, receive, send)


def _without_body(send: Send) -> Send:
    """Return a `send` that ends the answer after its head: a stream might have no end."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})
        elif message.get("more_body", False):
            raise ClientDisconnect  # nobody reads the rest

    return send_head
