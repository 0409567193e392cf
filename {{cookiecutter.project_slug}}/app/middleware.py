"""The layer around every request: its id, the headers of its answer, and the line in the log."""

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
"""Path, query and headers together. A server may take in more, to find out where the head ends."""
_MAX_BACKSLASHES = 64
"""In a cookie: Python before 3.11.10, 3.12.6 and 3.13.0 takes quadratic time to unquote them
(CVE-2024-7592), and FastAPI parses the cookies of every request."""
_MAX_CONTENT_TYPE = 256
"""Bytes. Python parses its parameters in quadratic time, and keeps the name of every charset."""
_MAX_PATH = 1000
"""Characters: a stranger chooses the path, and has no say in how large the log becomes."""

_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_PLAIN_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_REQUEST_ID = b"x-request-id"
_VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""Any other could break a line of the log or a header, and is replaced."""

_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with it browsers send forms with "Origin: null".
    "Referrer-Policy": "same-origin",
    # What the service answers is for those who hold a key, and is old soon.
    "Cache-Control": "no-store",
}
_HSTS = {"Strict-Transport-Security": "max-age=31536000"}


@dataclass(slots=True)
class Answered:
    """A request that has been answered."""

    method: str
    path: str
    route: str | None
    """The path as the route has it, such as "/orders/{id}"; None if no route matched."""
    status: int
    seconds: float
    """From the head of the request to the last byte of the answer."""
    caller: str | None
    """The name of the API key that let the caller in, if it has one."""


def access_log(*, fields: bool, polled: Collection[str] = ()) -> Callable[[Answered], None]:
    """Return what logs `POST /orders 201 12.3 ms`, with its parts as fields as well, if asked to.

    Of the routes in `polled`, which are asked all the time, only errors are more than DEBUG.
    """

    def log(answered: Answered) -> None:
        is_routine = answered.route in polled and answered.status < HTTPStatus.BAD_REQUEST
        level = logging.DEBUG if is_routine else logging.INFO
        if not logger.isEnabledFor(level):  # before a line is made that nobody sees
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
    """Does for every request what no route has to think of.

    Security headers that an answer brings itself stay as they are. With `hsts`, answers over
    https tell browsers to come by https only, for a year. `observers` are told of every answer.
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
        # uvicorn starts the next request of a connection in the context of the one before.
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
        if method == "HEAD":  # answered wherever there is a GET: the server leaves out the body
            scope = {**scope, "method": "GET"}
        try:
            await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            pass  # that a caller has hung up is no error of the service
        except RuntimeError as error:
            # Starlette wraps what is raised once an answer has begun; the server knows OSErrors.
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise
        except asyncio.CancelledError:  # the server is stopping, and waits no longer
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
    """Refuse a head that is too large, or would take long to parse."""

    async def limit(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or not _is_costly(scope):
            await app(scope, receive, send)
            return
        detail = f"the head is larger than {MAX_HEAD_BYTES} bytes, or would take long to parse"
        refusal = problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
        await refusal(scope, receive, send)

    return limit


@dataclass(slots=True)
class _Answer:
    """An answer on its way out, which gets those of `headers` that it lacks."""

    scope: Scope
    to_caller: Send
    headers: list[tuple[bytes, bytes]]
    status: int = 500  # what the server answers if nothing is sent
    problem: Response | None = None

    async def send(self, message: Message) -> None:
        """Send a part of it, the first with headers of ours."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            # Which the tasks of the request want to know.
            self.scope["state"]["response_started"] = True
            headers = self._explained(message.get("headers", ()))
            theirs = {name for name, _ in headers}
            missing = [header for header in self.headers if header[0] not in theirs]
            message["headers"] = [*headers, *missing]
        elif self.problem is not None:
            message["body"] = self.problem.body
        await self.to_caller(message)

    def _explained(self, headers: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
        """Say as all errors do what Starlette says of a large body in plain text."""
        if self.status != _TOO_LARGE or _PLAIN_TEXT not in headers:
            return headers
        self.problem = body_too_large(self.scope)
        others = [header for header in headers if not header[0].startswith(b"content-")]
        return [*others, *self.problem.raw_headers]


def _request_id(scope: Scope) -> bytes:
    """Return the id that the caller gave, or a new one."""
    # Every request passes here: the raw list is three times as fast as starlette's Headers.
    for name, value in scope["headers"]:
        if name == _REQUEST_ID and _VALID_ID.fullmatch(value):
            return bytes(value)
    return os.urandom(16).hex().encode()


def _is_costly(scope: Scope) -> bool:
    """Tell whether a head is too large, or would take long to parse."""
    size = len(scope["path"]) + len(scope["query_string"])
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name == b"cookie" and value.count(b"\\") > _MAX_BACKSLASHES:
            return True
        if name == b"content-type" and len(value) > _MAX_CONTENT_TYPE:
            return True
    return size > MAX_HEAD_BYTES
