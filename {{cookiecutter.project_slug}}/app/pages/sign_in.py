"""`/sign-in`, `/sign-out`, and the files that all pages need."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.middleware import Middleware

from app.db import SessionDep
from app.errors import AppError, BadRequest
from app.feature import Feature
from app.security import SIGNED_IN, ApiKeys, client_of
from app.settings import Settings
from app.urls import root_path

from .browser import BrowserMiddleware
from .render import SHARED, links, render_page
from .session import COOKIE, LIFETIME, end_session, make_session, read_session
from .static import StaticFolder

_STATIC = Path(__file__).with_name("static")
_MAX_FORM = 8 * 1024
"""Bytes of a form that anybody may send."""
_MAX_FIELDS = 10

Target = Annotated[str, Query(alias="next", max_length=2000)]


def create_feature(settings: Settings) -> Feature:
    """Make the feature. It is public: who signs in has no key yet."""
    return Feature(
        name="pages",
        router=_make_router(settings),
        public=True,
        middleware=[Middleware(BrowserMiddleware, settings=settings)],
    )


def _make_router(settings: Settings) -> APIRouter:
    router = APIRouter(include_in_schema=False, max_body_size=_MAX_FORM)
    router.mount("/static/pages", StaticFolder(_STATIC))

    @router.get("/sign-in")
    async def show_sign_in(request: Request, target: Target = "") -> Response:
        target = _local_path(request, target)
        if target and (request.scope.get(SIGNED_IN) or not settings.api_keys):
            return _redirect(target)
        if target and request.headers.get("Sec-Fetch-Site") == "cross-site":
            # Who follows a link of another site comes without the cookie, for that is strict, and
            # may well be signed in. A step from our own page brings it along.
            return render_page(request, SHARED, "step.html.j2", {"target": target})
        return _form(request, target)

    @router.post("/sign-in")
    async def sign_in(
        request: Request, form: Annotated[dict[str, str], Depends(_read_form)]
    ) -> Response:
        key, target = form.get("key", "").strip(), _local_path(request, form.get("next", ""))
        response = _redirect(target or f"{root_path(request.scope)}/sign-in")
        if not settings.api_keys:
            return response
        keys: ApiKeys = request.app.state.api_keys
        try:
            keys.check(key.encode("utf-8", "replace"), client_of(request.scope))
        except AppError as error:
            return _form(request, target, error)
        response.set_cookie(COOKIE, make_session(key), LIFETIME, **_cookie(request))
        return response

    @router.post("/sign-out")
    async def sign_out(request: Request, session: SessionDep) -> Response:
        session_id = read_session(request.cookies.get(COOKIE, ""), settings.api_keys)
        if session_id is not None:
            await end_session(session_id, session)
        response = _redirect(f"{root_path(request.scope)}/sign-in")
        response.delete_cookie(COOKIE, **_cookie(request))
        return response

    return router


async def _read_form(request: Request) -> dict[str, str]:
    """Read a form of a stranger: no parser of multipart, in which they choose a decoder."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(body, max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise BadRequest(str(error)) from error


def _cookie(request: Request) -> dict[str, Any]:
    """Return what the cookie says beside its value, when it is set and when it is deleted."""
    settings: Settings = request.app.state.settings
    return {
        "path": f"{root_path(request.scope)}/",
        # A proxy in front that speaks https may not have said so.
        "secure": settings.in_production or request.url.scheme == "https",
        "httponly": True,
        "samesite": "strict",
    }


def _form(request: Request, target: str, error: AppError | None = None) -> Response:
    context = {
        "target": target,
        "error": error.detail if error else "",
        "has_keys": bool(request.app.state.api_keys),
    }
    status = error.status if error else HTTPStatus.OK
    return render_page(request, SHARED, "sign_in.html.j2", context, status)


def _redirect(path: str) -> RedirectResponse:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def _local_path(request: Request, path: str) -> str:
    """Return a path of this service: never one that a browser would take for another host.

    Instead of any other it is the first page, or "" if there is none.
    """
    root = root_path(request.scope)
    is_ours = path.startswith(f"{root}/") and not path.startswith((f"{root}/sign-", "//"))
    if is_ours and _is_plain(path):
        return path
    return next((root + first for first in links(request.app)), "")


def _is_plain(path: str) -> bool:
    # Browsers read a backslash as a slash, skip tabs and line breaks, and leave the prefix by "..".
    steps = unquote(path.partition("?")[0]).split("/")
    return path.isprintable() and path.isascii() and "\\" not in path and ".." not in steps
