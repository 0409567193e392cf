"""`/sign-in` and `/sign-out` of people with a browser, and the files that all pages share.

`session.py` has the cookie that stands for a key; `app.pages` is what features make pages with.
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
"""Bytes of a form that anybody may send."""
_PATH = re.compile(r"/(?![/\\])[!-~]*")
"""One that no browser takes for another host: they read a backslash as a slash, and skip tabs and
line breaks."""

router = APIRouter(include_in_schema=False, max_body_size=_MAX_FORM)
router.mount("/static/pages", StaticFolder(STATIC))


def create_feature(settings: Settings) -> Feature:
    """Make the feature. It is public: who signs in has no key yet."""
    browsers = Middleware(BrowserMiddleware, settings=settings)
    return Feature(name="pages", router=router, public=True, middleware=[browsers])


@router.get("/sign-in")
async def show_sign_in(
    request: Request, target: Annotated[str, Query(alias="next")] = ""
) -> Response:
    """Ask for a key, unless the caller may pass already."""
    return _lead_to(request, target) if request.scope[ADMITTED] else _ask(request, target)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Give who sends a key a session that stands for it."""
    # No parser of multipart, in which a stranger chooses a decoder.
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    key, target = form.get("key", "").strip(), form.get("next", "")
    keys: ApiKeys = request.app.state.api_keys
    caller = keys.name_of(key.encode("utf-8", "replace"))
    if caller is None:
        return _ask(request, target, keys.refusal(client_of(request.scope)))
    response = _lead_to(request, target)
    response.set_cookie(
        COOKIE,
        make_session(key, caller),
        LIFETIME,
        path=f"{root_path(request.scope)}/",
        # A proxy in front that speaks https may not have said so.
        secure=request.app.state.settings.in_production or request.url.scheme == "https",
        httponly=True,
        samesite="lax",  # links of a mail bring it along, forms of another site do not
    )
    return response


@router.post("/sign-out")
async def sign_out(request: Request, session: SessionDep) -> Response:
    """End the session, also for whoever has a copy of its cookie."""
    if found := request.scope.get(SESSION):
        await end_session(found.id, session)
    root = root_path(request.scope)
    response = RedirectResponse(f"{root}/sign-in", HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, path=f"{root}/")
    return response


def _ask(request: Request, target: str, error: HTTPException | None = None) -> Response:
    context = {"target": target, "error": error.detail if error else ""}
    status = error.status_code if error else HTTPStatus.OK
    return render_page(request, _TEMPLATES, "sign_in.html.j2", context, status)


def _lead_to(request: Request, target: str) -> RedirectResponse:
    """Lead to a path of this service, or to the first page instead of any other."""
    root = root_path(request.scope)
    is_ours = target.startswith(f"{root}/") and ".." not in unquote(target)
    if not (is_ours and _PATH.fullmatch(target)):
        target = root + next(iter(request.app.state.links), "/")
    return RedirectResponse(target, HTTPStatus.SEE_OTHER)
