"""The session of a browser: a cookie that stands for an API key and is not the key.

It is signed with the key, so that a key that is taken out of `API_KEYS` takes its sessions along.
Who signs out ends the session: its id is kept until the cookie would have ended anyway.
"""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote
from uuid import uuid4

from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.db import Base, UtcDateTime, utc_now
from app.db.readiness import NO_ANSWER
from app.errors import problem
from app.pages import prefers_html
from app.security import SIGN_IN, SIGNED_IN, key_in
from app.settings import Settings
from app.urls import root_path

COOKIE = "session"
SESSION = "browser_session"
"""In the scope of a request: the `BrowserSession` of its cookie, if it has not ended."""
LIFETIME = 12 * 3600
"""Seconds."""
_MAX_TARGET = 2000
"""Characters of an address to which the sign-in leads back."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CROSS_SITE = (
    "this was sent by a page of another site; a program sends its API key as X-API-Key or as a "
    "bearer token"
)


class SignedOut(Base):
    """A session that was ended before its time."""

    __tablename__ = "signed_out_sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    forgotten_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    """When its cookie has expired, so that the row is needed no longer."""


class BrowserSession(NamedTuple):
    """Its id, and the name of the key that it stands for; "" if that has none."""

    id: str
    caller: str


def make_session(key: str, caller: str = "") -> str:
    """Return the value of a cookie that stands for `key`, of a caller, from now on."""
    return str(_serializer([key]).dumps(BrowserSession(uuid4().hex, caller)))


def read_session(cookie: str, keys: Iterable[str]) -> BrowserSession | None:
    """Return a session; None if it is too old or stands for none of these keys."""
    try:
        return BrowserSession(*_serializer(keys).loads(cookie, max_age=LIFETIME))
    except BadData:
        return None


async def end_session(session_id: str, session: AsyncSession) -> None:
    """End a session for good, and forget those whose cookies have ended."""
    await session.execute(delete(SignedOut).where(SignedOut.forgotten_at < utc_now()))
    forgotten_at = utc_now() + timedelta(seconds=LIFETIME)
    with suppress(IntegrityError):  # it has been ended already
        async with session.begin_nested():
            session.add(SignedOut(id=session_id, forgotten_at=forgotten_at))


def _serializer(keys: Iterable[str]) -> URLSafeTimedSerializer:
    algorithm = {"key_derivation": "hmac", "digest_method": sha256}
    return URLSafeTimedSerializer(list(keys), salt="session cookie", signer_kwargs=algorithm)


class BrowserMiddleware:
    """Lets people use with a browser what programs use with a key.

    A request with a session cookie needs no key. One that changes something and carries no key is
    refused if a page of another site sent it. Who asks for a page without a key is sent to the
    sign-in.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._keys = [key.get_secret_value() for key in settings.api_keys]
        self._trusted = settings.cors_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and not key_in(dict(scope["headers"])):
            request = HTTPConnection(scope)
            if refusal := await self._refusal(request):
                await refusal(scope, receive, send)
                return
            if prefers_html(request):
                scope[SIGN_IN] = _sign_in_path(scope)
        await self._app(scope, receive, send)

    async def _refusal(self, request: HTTPConnection) -> Response | None:
        """Note in its scope who is signed in; or return why a request may not pass."""
        if request.scope["method"] not in _SAFE and self._is_cross_site(request.headers):
            return problem(HTTPStatus.FORBIDDEN, _CROSS_SITE)
        cookie = request.cookies.get(COOKIE)  # most callers have none, and pay for none
        found = None if cookie is None else read_session(cookie, self._keys)
        if found is None:
            return None
        state = request.app.state
        if await state.readiness.cause(state.database.check) == NO_ANSWER:  # or this might hang
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, NO_ANSWER)
        try:
            async with state.database.session(read_only=True) as session:
                if await session.get(SignedOut, found.id) is None:
                    request.scope.update({SESSION: found, SIGNED_IN: found.caller})
        except SQLAlchemyError:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, NO_ANSWER)
        return None

    def _is_cross_site(self, headers: Headers) -> bool:
        """Tell whether a browser says that the request comes from a page of a foreign origin.

        All browsers of today send Sec-Fetch-Site over https and to this machine, and Origin with
        whatever is not a GET. Programs send neither.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin in self._trusted:  # which "*" is not: no page but these may use a session
            return False
        if site is not None:
            return site not in {"same-origin", "none"}
        return origin is not None and origin.partition("://")[2] != headers.get("host")


def _sign_in_path(scope: Scope) -> str:
    path = root_path(scope) + "/sign-in"
    if scope["method"] not in {"GET", "HEAD"}:  # a form, sent when the session had ended
        return path
    query = "?" + scope["query_string"].decode("latin-1") if scope["query_string"] else ""
    target = quote(scope["path"]) + query
    return f"{path}?next={quote(target, safe='/')}" if len(target) <= _MAX_TARGET else path
