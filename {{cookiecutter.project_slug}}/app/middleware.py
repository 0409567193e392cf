"""What surrounds every request: its id, the headers of its answer, and its line in the log."""

import asyncio
import logging
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import body_too_large, problem

logger = structlog.get_logger("app.access")

MAX_HEAD_BYTES = 16 * 1024
"""Limit for path, query and headers together. The server itself may accept more."""
_MAX_BACKSLASHES = 64
"""In a cookie: Python before 3.11.10, 3.12.6 and 3.13.0 takes quadratic time to unquote them
(CVE-2024-7592), and FastAPI parses the cookies of every request."""
_MAX_SLASHES = 100
"""In a path. A folder of files takes quadratic time for the parts of a path: 28 ms for 7,000."""
_MAX_CONTENT_TYPE = 256
"""Bytes. Python parses its parameters in quadratic time, and caches the name of every charset."""
_MAX_PATH = 1000
"""Characters that are logged, because callers choose the path, and must not flood the log."""

_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_PLAIN_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_REQUEST_ID = b"x-request-id"
_VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""Any other id is replaced, because it could break a line of the log or a header."""

_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with it browsers send forms with "Origin: null".
    "Referrer-Policy": "same-origin",
    # Pages of other sites get no handle on a window of ours, and cannot embed our answers.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Answers are for callers with a key, and soon out of date.
    "Cache-Control": "no-store",
}
_HSTS = {"Strict-Transport-Security": "max-age=31536000"}


@dataclass(slots=True)
class Answered:
    """A request that has been answered."""

    method: str
    path: str
    route: str | None
    """The path of the route, such as "/orders/{id}"; None if no route matched."""
    status: int
    seconds: float
    """From the head of the request to the last byte of the answer."""
    caller: str | None
    """The name of the caller's API key, if it has one."""


def access_log(*, fields: bool, polled: Collection[str] = ()) -> Callable[[Answered], None]:
    """Return an observer that logs `POST /orders 201 12.3 ms`; `fields` adds the parts as fields.

    Requests to the routes in `polled` are logged at DEBUG, unless the answer is an error.
    """

    def log(answered: Answered) -> None:
        is_routine = answered.route in polled and answered.status < HTTPStatus.BAD_REQUEST
        level = logging.DEBUG if is_routine else logging.INFO
        if not logger.isEnabledFor(level):  # saves building a line that is not logged
            return
        line: dict[str, Any] = {
            "method": answered.method,
            "path": answered.path[:_MAX_PATH],
            "route": answered.route,
            "status": answered.status,
            "duration_ms": round(answered.seconds * 1000, 2),
        }
        text = "{method} {path} {status} {duration_ms} ms".format_map(line)
        caller = {} if answered.caller is None else {"caller": answered.caller}
        logger.log(level, text, **caller, **(line if fields else {}))

    return log


class RequestMiddleware:
    """Gives every request an id and its answer security headers, and calls the observers.

    Security headers that an answer sets itself are kept. With `hsts`, answers over https tell
    browsers to use https only, for a year. `observers` are called after every answer.
    """

    def __init__(
        self, app: ASGIApp, *, hsts: bool, observers: Sequence[Callable[[Answered], None]]
    ) -> None:
        self._app = app
        self._observers = observers
        self._headers = Headers(_SECURITY_HEADERS).raw
        self._https_headers = Headers({**_SECURITY_HEADERS, **(_HSTS if hsts else {})}).raw

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        # uvicorn starts the next request of a connection in the context of the previous one.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        if scope["type"] == "http":
            headers = self._https_headers if scope.get("scheme") == "https" else self._headers
            scope.setdefault("state", {})
            answer = _Answer(scope, send, [*headers, (_REQUEST_ID, request_id)])
            await self._handle(scope, receive, answer)
        else:
            await self._app(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        start = perf_counter()
        method = scope["method"]
        if method == "HEAD":  # handled as a GET; the server leaves out the body
            scope = {**scope, "method": "GET"}
        try:
            await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            pass  # the caller hung up, which is no error of the service
        except RuntimeError as error:
            # Starlette wraps errors once an answer has begun; the server handles bare OSErrors.
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise
        except asyncio.CancelledError:  # the server is stopping, and no longer waits
            if "response_started" not in scope["state"]:
                refusal = problem(HTTPStatus.SERVICE_UNAVAILABLE, "the service is stopping")
                await refusal(scope, receive, answer.send)
            raise
        finally:
            answered = Answered(
                method=method,
                path=scope["path"],
                route=getattr(scope.get("route"), "path", None),
                status=answer.status,
                seconds=perf_counter() - start,
                caller=scope.get("state", {}).get("caller"),
            )
            for observe in self._observers:
                observe(answered)


def limit_head(app: ASGIApp) -> ASGIApp:
    """Return a middleware that refuses heads that are too large or would take long to parse."""

    async def limit(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or not _is_costly(scope):
            await app(scope, receive, send)
            return
        detail = f"URL and headers exceed {MAX_HEAD_BYTES} bytes, or take too long to parse"
        refusal = problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
        await refusal(scope, receive, send)

    return limit


@dataclass(slots=True)
class _Answer:
    """Sends an answer, and adds those of `headers` that it lacks."""

    scope: Scope
    to_caller: Send
    headers: list[tuple[bytes, bytes]]
    status: int = 500  # what the server answers if nothing is sent
    problem: Response | None = None

    async def send(self, message: Message) -> None:
        """Send one part of the answer, and our headers with the first."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.scope["state"]["response_started"] = True  # `Tasks` reads it
            headers = self._as_problem(message.get("headers", ()))
            present = {name for name, _ in headers}
            missing = [header for header in self.headers if header[0] not in present]
            message["headers"] = [*headers, *missing]
        elif self.problem is not None:
            message["body"] = self.problem.body
        await self.to_caller(message)

    def _as_problem(self, headers: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
        """Replace Starlette's plain text about a body that is too large by a problem document."""
        if self.status != _TOO_LARGE or _PLAIN_TEXT not in headers:
            return headers
        self.problem = body_too_large(self.scope)
        others = [header for header in headers if not header[0].startswith(b"content-")]
        return [*others, *self.problem.raw_headers]


def _request_id(scope: Scope) -> bytes:
    """Return the id that the caller gave, or a new one."""
    # This runs for every request: the raw list is three times as fast as Starlette's Headers.
    for name, value in scope["headers"]:
        if name == _REQUEST_ID and _VALID_ID.fullmatch(value):
            return bytes(value)
    return os.urandom(16).hex().encode()


def _is_costly(scope: Scope) -> bool:
    """Return whether a head is too large or would take long to parse."""
    if scope["path"].count("/") > _MAX_SLASHES:
        return True
    size = len(scope["path"]) + len(scope["query_string"])
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name == b"cookie" and value.count(b"\\") > _MAX_BACKSLASHES:
            return True
        if name == b"content-type" and len(value) > _MAX_CONTENT_TYPE:
            return True
    return size > MAX_HEAD_BYTES
