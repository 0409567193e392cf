"""`/sign-in`, `/sign-out`, and the files that all pages need."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

import app.pages
from app.pages import StaticFolder, render_page
from app.pages.links import links
from app.security import is_known_key
from app.settings import Settings

from .session import COOKIE, LIFETIME, make_session

_TEMPLATES = Path(__file__).with_name("templates")
_STATIC = Path(app.pages.__file__).with_name("static")


def make_router(settings: Settings) -> APIRouter:
    """Make the routes."""
    router = APIRouter(include_in_schema=False)
    router.mount("/static/pages", StaticFolder(_STATIC))

    @router.get("/sign-in")
    async def show_sign_in(
        request: Request, target: Annotated[str, Query(alias="next")] = ""
    ) -> Response:
        target = _local_path(request, target)
        if target and (request.scope.get("signed_in") or not settings.api_keys):
            return _redirect(target)
        if target and request.headers.get("Sec-Fetch-Site") == "cross-site":
            # Who follows a link of another site comes without the cookie, for that is strict, and
            # may well be signed in. A step from our own page brings it along.
            return render_page(request, _TEMPLATES, "step.html.j2", {"target": target})
        return _form(request, target, HTTPStatus.OK)

    @router.post("/sign-in")
    async def sign_in(
        request: Request,
        key: Annotated[str, Form()] = "",
        target: Annotated[str, Form(alias="next")] = "",
    ) -> Response:
        target = _local_path(request, target)
        key = key.strip()
        if settings.api_keys and not is_known_key(key.encode("utf-8", "replace"), settings):
            return _form(request, target, HTTPStatus.UNAUTHORIZED)
        response = _redirect(target or "/sign-in")
        if settings.api_keys:
            response.set_cookie(
                COOKIE,
                make_session(key),
                max_age=LIFETIME,
                secure=request.url.scheme == "https",
                httponly=True,
                samesite="strict",
            )
        return response

    @router.post("/sign-out")
    async def sign_out() -> Response:
        response = _redirect("/sign-in")
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    return router


def _form(request: Request, target: str, status: HTTPStatus) -> Response:
    context = {"target": target, "wrong": status is HTTPStatus.UNAUTHORIZED}
    return render_page(request, _TEMPLATES, "sign_in.html.j2", context, status)


def _redirect(path: str) -> RedirectResponse:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER, headers={"Cache-Control": "no-store"})


def _local_path(request: Request, path: str) -> str:
    """Return a path of this service: never one that a browser would take for another host.

    In place of any other it is the first page, or "" if there is none.
    """
    if path.startswith("/") and not path.startswith(("//", "/sign-")) and _is_plain(path):
        return path
    pages = links(request.app)
    return pages[0].path if pages else ""


def _is_plain(path: str) -> bool:
    # Browsers read a backslash as a slash, and skip tabs and line breaks.
    return path.isprintable() and path.isascii() and "\\" not in path
