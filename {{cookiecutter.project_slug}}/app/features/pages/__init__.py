"""`/sign-in` and `/sign-out` for browsers, and the static files that all pages share.

`session.py` has the cookie of a session; `app.pages` is for features that have pages.
"""

import re
from http import HTTPStatus
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, unquote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from app.db import SessionDep
from app.feature import Feature
from app.pages import STATIC, StaticFolder, render_page
from app.security import ADMITTED, ApiKeys, client_of
from app.settings import Settings
from app.urls import root_path

from .session import COOKIE, LIFETIME, SESSION, BrowserMiddleware, end_session, make_session

_TEMPLATES = Path(__file__).with_name("templates")
_MAX_FORM = 8 * 1024
"""Bytes that a form may have: unauthenticated callers may send one."""
_PATH = re.compile(r"/(?![/\\])[!-~]*")
"""A path that no browser takes for another host: browsers read a backslash as a slash, and ignore
tabs and line breaks."""

router = APIRouter(include_in_schema=False, max_body_size=_MAX_FORM)
router.mount("/static/pages", StaticFolder(STATIC))


def create_feature(settings: Settings) -> Feature:
    """Make the feature. It is public, because callers have no session before they sign in."""
    browsers = Middleware(BrowserMiddleware, settings=settings)
    return Feature(name="pages", router=router, public=True, middleware=[browsers])


@router.get("/sign-in")
async def show_sign_in(
    request: Request, target: Annotated[str, Query(alias="next")] = ""
) -> Response:
    """Ask for a key, unless the caller has access already."""
    return _redirect(request, target) if request.scope[ADMITTED] else _show_form(request, target)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Start a session for a caller who sends a known API key."""
    # Not parsed as multipart, where an unauthenticated caller could choose a decoder.
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    key, target = form.get("key", "").strip(), form.get("next", "")
    keys: ApiKeys = request.app.state.api_keys
    caller = keys.name_of(key.encode("utf-8", "replace"))
    if caller is None:
        return _show_form(request, target, keys.refusal(client_of(request.scope)))
    response = _redirect(request, target)
    response.set_cookie(
        COOKIE,
        make_session(key, caller),
        LIFETIME,
        path=f"{root_path(request.scope)}/",
        # In production always, because a proxy in front may not pass on that it received https.
        secure=request.app.state.settings.in_production or request.url.scheme == "https",
        httponly=True,
        samesite="lax",  # sent along with links from mails, but not with forms of other sites
    )
    return response


@router.post("/sign-out")
async def sign_out(request: Request, session: SessionDep) -> Response:
    """End the session, so that copies of its cookie are invalid, too."""
    if browser_session := request.scope.get(SESSION):
        await end_session(browser_session.id, session)
    root = root_path(request.scope)
    response = RedirectResponse(f"{root}/sign-in", HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, path=f"{root}/")
    return response


def _show_form(request: Request, target: str, error: HTTPException | None = None) -> Response:
    context = {"target": target, "error": error.detail if error else ""}
    status = error.status_code if error else HTTPStatus.OK
    return render_page(request, _TEMPLATES, "sign_in.html.j2", context, status)


def _redirect(request: Request, target: str) -> RedirectResponse:
    """Redirect to `target` if it is a path of this service, and otherwise to the first page."""
    root = root_path(request.scope)
    is_ours = target.startswith(f"{root}/") and ".." not in unquote(target)
    if not (is_ours and _PATH.fullmatch(target)):
        target = root + next(iter(request.app.state.links), "/")
    return RedirectResponse(target, HTTPStatus.SEE_OTHER)
