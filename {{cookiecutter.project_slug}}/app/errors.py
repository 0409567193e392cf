"""Errors as RFC 9457 problem documents: one body shape for every 4xx and 5xx answer."""

import errno
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import responses as titles
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app.db import can_pass
from app.tasks import RunnerClosed, TaskNotAccepted, describe_error

logger = structlog.get_logger(__name__)

MAX_BODY_BYTES = 64 * 1024
"""Largest body that a route reads, unless it sets `max_body_size=`."""
# FastAPI's text for any error while it parses a body, and Starlette's for a body too large
_UNREAD_BODY = "There was an error parsing the body"
_CONTENT_TOO_LARGE = "Content Too Large"
_DEFAULT_HEADERS: Mapping[int, Mapping[str, str]] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": "60"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "1"},
}
"""By status, for answers that do not set them; `Retry-After` is in seconds."""
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class InvalidField(BaseModel):
    """One fault of a request, without the value, which may be a secret."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(BaseModel):
    """The body of every error answer (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str | None = Field(default=None, description="also in the log and `X-Request-ID`")
    errors: list[InvalidField] | None = None


class ProblemResponse(JSONResponse):
    """A problem document with its own media type."""

    media_type = "application/problem+json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; close a WebSocket, where uvicorn treats an HTTP answer as a fault."""
        answer = WebSocketClose(1011) if scope["type"] == "websocket" else super().__call__
        await answer(scope, receive, send)


def problem_responses() -> dict[int | str, dict[str, Any]]:
    """Return the error answers that every route documents."""
    content = {ProblemResponse.media_type: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"default": {"description": "Error", "model": Problem, "content": content}}


def problem(
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Any] | None = None,
) -> ProblemResponse:
    """Make an error answer."""
    body = Problem(
        title=titles.get(status, "Error"),
        status=status,
        detail=detail,
        request_id=structlog.contextvars.get_contextvars().get("request_id"),
        errors=errors,
    )
    response = ProblemResponse(body.model_dump(exclude_none=True), status, headers=headers)
    for name, value in _DEFAULT_HEADERS.get(status, {}).items():
        response.headers.setdefault(name, value)  # names are case-insensitive
    return response


def body_too_large(scope: Scope) -> ProblemResponse:
    """Make the answer to a body that is larger than its route allows."""
    limit = scope.get(MAX_BODY_SIZE_SCOPE_KEY, MAX_BODY_BYTES)
    detail = f"the request body is larger than {limit} bytes"
    return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def add_error_handlers(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document; call it before the first request."""
    handlers: dict[type[Exception], Any] = {
        HTTPException: _http_exception,
        RequestValidationError: _invalid_request,
        TaskNotAccepted: _not_accepted,
        RunnerClosed: _unavailable,
        PoolTimeoutError: _unavailable,
        OperationalError: _storage_error,
        OSError: _storage_error,
        Exception: _unexpected,
    }
    for error, handler in handlers.items():
        app.add_exception_handler(error, handler)


async def _http_exception(request: Request, error: HTTPException) -> Response:
    if error.detail == _UNREAD_BODY:  # not always the caller's mistake
        if isinstance(error.__cause__, ClientDisconnect):
            raise error.__cause__
        if isinstance(error.__cause__, OSError):
            return await _storage_error(request, error.__cause__)
    if error.status_code < HTTPStatus.BAD_REQUEST:  # a redirect, or "not modified"
        return await http_exception_handler(request, error)
    if error.detail == _CONTENT_TOO_LARGE:
        return body_too_large(request.scope)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := _allowed(request)):
        headers["Allow"] = methods
    return problem(error.status_code, str(error.detail), headers=headers)


def _allowed(request: Request) -> str:
    """Return all methods of a path: Starlette's own header has those of the first route only.

    Returns "" for a path below a mount, which answers with its own methods.
    """

    def is_answered(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(filter(is_answered, _METHODS)).replace("GET", "HEAD, GET")


async def _invalid_request(_: Request, error: RequestValidationError) -> ProblemResponse:
    # FastAPI's own handler echoes the input, which cannot always be encoded (NaN, surrogates).
    detail = "the request is not valid"
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=error.errors())


async def _not_accepted(_: Request, error: TaskNotAccepted) -> ProblemResponse:
    detail = "the task queue is full or cannot be reached"
    headers = {"Retry-After": str(error.retry_after)}
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)


async def _unavailable(_: Request, error: Exception) -> ProblemResponse:
    # A traceback shows which statement failed. Without a statement, every request fails alike.
    trace = error if getattr(error, "statement", None) else None
    logger.error("service unavailable", error=describe_error(error), exc_info=trace)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "the service is busy or stopping")


async def _storage_error(request: Request, error: OperationalError | OSError) -> ProblemResponse:
    """Answer 503 if the error can pass or the disk is full; raise any other error again."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        logger.error("the disk is full: free some space", error=describe_error(error))
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "nothing can be stored just now")
    if isinstance(error, OperationalError) and can_pass(error.orig):
        return await _unavailable(request, error)
    raise error


async def _unexpected(_: Request, error: Exception) -> ProblemResponse:
    # Starlette raises the error again after this answer, or instead of it if another has begun.
    if isinstance(error, ClientDisconnect):
        return problem(499, "the caller hung up")  # nginx's status for it: not the service's error
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error occurred; it was logged")
