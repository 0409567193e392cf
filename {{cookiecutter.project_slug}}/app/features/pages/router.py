"""`/sign-in`, `/sign-out`, and the files that all pages share."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.errors import AppError
from app.pages import STATIC, StaticFolder, render_page
from app.security import ApiKeys, client_of, is_signed_in
from app.settings import Settings
from app.urls import root_path

from .session import COOKIE, LIFETIME, MAX_TARGET, make_session

_TEMPLATES = Path(__file__).with_name("templates")

_MAX_FORM = 8 * 1024
"""Bytes of a form that anybody may send."""

Target = Annotated[str, Query(alias="next")]


def make_router(settings: Settings) -> APIRouter:
    """Make the routes."""
    router = APIRouter(include_in_schema=False, max_body_size=_MAX_FORM)
    router.mount("/static/pages", StaticFolder(STATIC))

    @router.get("/sign-in")
    async def show_sign_in(request: Request, target: Target = "") -> Response:
        target = _local_path(request, target)
        if is_signed_in(request) or not settings.api_keys:
            target = target or _first_page(request)
            return _redirect(target) if target else _form(request, target)
        return _form(request, target)

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        # No parser of multipart, in which a stranger chooses a decoder.
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        key, target = form.get("key", "").strip(), _local_path(request, form.get("next", ""))
        sign_in = f"{root_path(request.scope)}/sign-in"
        response = _redirect(target or _first_page(request) or sign_in)
        if settings.api_keys:
            keys: ApiKeys = request.app.state.api_keys
            caller = keys.name_of(key.encode("utf-8", "replace"))
            if caller is None:
                return _form(request, target, keys.refusal(client_of(request.scope)))
            response.set_cookie(COOKIE, make_session(key, caller), LIFETIME, **_cookie(request))
        return response

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        response = _redirect(f"{root_path(request.scope)}/sign-in")
        response.delete_cookie(COOKIE, **_cookie(request))
        return response

    return router


def _cookie(request: Request) -> dict[str, Any]:
    """Return what the cookie says beside its value, when it is set and when it is deleted."""
    in_production = request.app.state.settings.in_production
    return {
        "path": f"{root_path(request.scope)}/",
        # A proxy in front that speaks https may not have said so.
        "secure": in_production or request.url.scheme == "https",
        "httponly": True,
        "samesite": "lax",  # links of a mail bring it along, forms of another site do not
    }


def _form(request: Request, target: str, error: AppError | None = None) -> Response:
    has_keys = bool(request.app.state.api_keys)
    context = {
        "target": target,
        "error": error.detail if error else "",
        "has_keys": has_keys,
        "docs": request.app.openapi_url is not None,
    }
    status = error.status if error else HTTPStatus.OK
    return render_page(request, _TEMPLATES, "sign_in.html.j2", context, status)


def _redirect(path: str) -> RedirectResponse:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def _local_path(request: Request, path: str) -> str:
    """Return a path of this service: never one that a browser would take for another host.

    Browsers read a backslash as a slash, skip tabs and line breaks, and leave the prefix by "..".
    Instead of any other path it is "".
    """
    root = root_path(request.scope)
    is_plain = len(path) <= MAX_TARGET and path.isascii() and path.isprintable()
    is_ours = path.startswith(f"{root}/") and not path.startswith((f"{root}/sign-", "//"))
    is_tricky = "\\" in path or ".." in unquote(path.partition("?")[0]).split("/")
    return path if is_plain and is_ours and not is_tricky else ""


def _first_page(request: Request) -> str:
    return next((root_path(request.scope) + path for path in request.app.state.links), "")
