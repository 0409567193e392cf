"""Errors as RFC 9457 problem documents: one body shape for every 4xx and 5xx answer."""

# Errors are named like their status.
# ruff: noqa: N818

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from app.db import Database, can_pass
from app.tasks import RunnerClosed, TaskNotAccepted, describe_error

RETRY_AFTER = {"Retry-After": "1"}
CLIENT_CLOSED_REQUEST = 499
"""As nginx calls it; there is no standard status for this."""
MAX_BODY_BYTES = 64 * 1024
"""What a route reads of a body, unless it says `max_body_size=`."""
_CONTENT_TOO_LARGE = "Content Too Large"
"""What Starlette says when a body without a length turns out to be over the limit."""
_UNREAD_BODY = "There was an error parsing the body"
"""FastAPI's detail of a 400 for every error in its parser; the error itself is the cause."""
_STATUSES = frozenset(HTTPStatus)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class InvalidField(BaseModel):
    """One thing that is wrong with a request. Its value is not repeated: it may be a secret."""

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


class AppError(Exception):
    """Base of the errors that are meant for the caller; `detail` is shown to them."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    headers: Mapping[str, str] | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadRequest(AppError):
    """The request makes no sense."""

    status = HTTPStatus.BAD_REQUEST


class Unauthorized(AppError):
    """The caller has not said who they are, or nobody knows them."""

    status = HTTPStatus.UNAUTHORIZED
    headers = {"WWW-Authenticate": "Bearer"}  # noqa: RUF012 - read only


class Forbidden(AppError):
    """The caller is known and may not."""

    status = HTTPStatus.FORBIDDEN


class NotFound(AppError):
    """There is no such thing."""

    status = HTTPStatus.NOT_FOUND


class Conflict(AppError):
    """The thing is in a state that does not allow it."""

    status = HTTPStatus.CONFLICT


class Unprocessable(AppError):
    """The request is well-formed and its content is not acceptable."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class TooManyRequests(AppError):
    """The caller has asked too often; a minute later is soon enough."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    headers = {"Retry-After": "60"}  # noqa: RUF012 - read only


class ServiceUnavailable(AppError):
    """Something the service needs is not there just now; trying again is worthwhile."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    headers = RETRY_AFTER


def problem_responses() -> dict[int | str, dict[str, Any]]:
    """Return the error answers that every route documents."""
    content = {ProblemResponse.media_type: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "default": {"description": "Error", "model": Problem, "content": content},
        422: {"description": "Invalid request", "model": Problem, "content": content},
    }


def problem(
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[InvalidField] | None = None,
) -> ProblemResponse:
    """Make an error answer."""
    body = Problem(
        title=HTTPStatus(status).phrase if status in _STATUSES else "Error",
        status=status,
        detail=detail,
        request_id=structlog.contextvars.get_contextvars().get("request_id"),
        errors=errors,
    )
    return ProblemResponse(body.model_dump(exclude_none=True), status, headers=headers)


class BodyLimitProblem:
    """Turns the server's plain text answer to a body that is too large into a problem document.

    FastAPI gives that answer outside of all exception handlers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal replaced
            if _is_plain_413(scope, message):
                replaced = True
                await _body_too_large(scope)(scope, receive, send)
            elif not replaced:
                await send(message)

        await self._app(scope, receive, send_problem)


def _body_too_large(scope: Scope) -> ProblemResponse:
    limit = scope.get(MAX_BODY_SIZE_SCOPE_KEY, MAX_BODY_BYTES)
    detail = f"the request body is larger than {limit} bytes"
    return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def _is_plain_413(scope: Scope, message: Message) -> bool:
    """Tell whether the server refuses a body for its length; a route may answer 413 itself."""
    if message["type"] != "http.response.start" or message["status"] != 413:  # noqa: PLR2004
        return False
    length = Headers(scope=scope).get("content-length", "")[:20]
    too_long = length.isdecimal() and int(length) > MAX_BODY_BYTES
    return too_long and Headers(raw=message["headers"])["content-type"].startswith("text/plain")


class LateErrors:
    """Ends a request whose caller has gone without a word, or for which the disk has no space.

    Not exception handlers, which may not see an error when a streamed answer has already begun.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch if scope["type"] == "http" else send)
        except ClientDisconnect:  # that is no error of the service
            if not started:  # nobody reads this; it is for the metrics
                answer = problem(CLIENT_CLOSED_REQUEST, "the caller hung up")
                await answer(scope, receive, send)
        except OSError as error:
            full = scope["app"].state.database.is_disk_full(error)
            if started or not full or scope["type"] != "http":
                raise
            await _disk_full(error)(scope, receive, send)


def add_error_handlers(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document; call it before the first request."""
    handlers: dict[type[Exception], Any] = {
        AppError: _app_error,
        HTTPException: _http_exception,
        RequestValidationError: _invalid_request,
        TaskNotAccepted: _not_accepted,
        RunnerClosed: _unavailable,
        OperationalError: _database_error,
        PoolTimeoutError: _unavailable,
        Exception: _unexpected,
    }
    for error, handler in handlers.items():
        typed: ExceptionHandler = handler
        app.add_exception_handler(error, typed)
    # Behind the middleware of the features, which see what it answers.
    app.user_middleware.append(Middleware(LateErrors))


async def _app_error(_: Request, error: AppError) -> ProblemResponse:
    return problem(error.status, error.detail, headers=error.headers)


async def _http_exception(request: Request, error: HTTPException) -> Response:
    if error.__cause__ is not None and error.detail == _UNREAD_BODY:
        return _unread_body(error.__cause__)
    if error.status_code < HTTPStatus.BAD_REQUEST:  # a redirect, or "not modified"
        return await http_exception_handler(request, error)
    if error.detail == _CONTENT_TOO_LARGE:
        return _body_too_large(request.scope)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := _allowed(request)):
        headers["Allow"] = ", ".join(methods)
    return problem(error.status_code, str(error.detail), headers=headers)


def _unread_body(cause: BaseException) -> ProblemResponse:
    """Answer to what FastAPI makes of every error in its parser of bodies, whoever's it is."""
    if isinstance(cause, ClientDisconnect):
        raise cause
    log = structlog.get_logger(__name__)
    error = describe_error(cause)
    if isinstance(cause, OSError):
        log.error("the temporary folder takes no body: free some space in it", error=error)
        return _nothing_stored()
    log.warning("a body could not be read", error=error)
    return problem(HTTPStatus.BAD_REQUEST, _UNREAD_BODY)


def _allowed(request: Request) -> list[str]:
    """Return what an address answers to: Starlette names the methods of its first route only.

    Nothing is found for what is mounted, which has its own idea of the address.
    """
    found = [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]
    return ["HEAD", *found] if "GET" in found and "HEAD" not in found else found


async def _invalid_request(_: Request, error: RequestValidationError) -> ProblemResponse:
    # FastAPI's own handler echoes the input, which cannot always be encoded (NaN, surrogates).
    errors = [
        InvalidField(loc=list(e["loc"]), msg=e["msg"], type=e["type"]) for e in error.errors()
    ]
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the request is not valid", errors=errors)


async def _not_accepted(_: Request, error: TaskNotAccepted) -> ProblemResponse:
    headers = {"Retry-After": str(error.retry_after)}
    detail = "no more work can be accepted at the moment"
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)


async def _unavailable(_: Request, error: Exception) -> ProblemResponse:
    structlog.get_logger(__name__).error("service unavailable", exc_info=error)
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "the service is busy or stopping", headers=RETRY_AFTER
    )


async def _database_error(request: Request, error: OperationalError) -> ProblemResponse:
    database: Database = request.app.state.database
    if database.is_disk_full(error):
        return _disk_full(error.orig)
    if not can_pass(error.orig):
        raise error
    return await _unavailable(request, error)


def _disk_full(error: BaseException | None) -> ProblemResponse:
    structlog.get_logger(__name__).error("the disk is full: free some space", error=str(error))
    return _nothing_stored()


def _nothing_stored() -> ProblemResponse:
    detail = "nothing can be stored just now"
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=RETRY_AFTER)


async def _unexpected(_: Request, __: Exception) -> ProblemResponse:
    # Starlette raises the exception again after this answer, and the server logs it.
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error occurred; it was logged")
