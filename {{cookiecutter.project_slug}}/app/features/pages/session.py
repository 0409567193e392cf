"""The session of a browser: a cookie that replaces an API key and does not contain it.

The cookie is signed with the key, so that removing a key from `API_KEYS` ends its sessions. Signing
out ends one session: its id is stored until the cookie would have expired anyway.
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
"""Seconds until the cookie expires."""
_MAX_TARGET = 2000
"""Characters of an address to which the sign-in leads back."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CROSS_SITE = (
    "this was sent by a page of another site; a program sends its API key as X-API-Key or as a "
    "bearer token"
)


class SignedOut(Base):
    """A session that was ended by signing out."""

    __tablename__ = "signed_out_sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    forgotten_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    """When the cookie expires, and the row is no longer needed."""


class BrowserSession(NamedTuple):
    """The id of a session, and the name of its API key; "" if the key has none."""

    id: str
    caller: str


def make_session(key: str, caller: str = "") -> str:
    """Return the cookie of a new session for `key`, whose name is `caller`."""
    return str(_serializer([key]).dumps(BrowserSession(uuid4().hex, caller)))


def read_session(cookie: str, keys: Iterable[str]) -> BrowserSession | None:
    """Return the session of a cookie; None if it has expired or none of `keys` has signed it."""
    try:
        return BrowserSession(*_serializer(keys).loads(cookie, max_age=LIFETIME))
    except BadData:
        return None


async def end_session(session_id: str, session: AsyncSession) -> None:
    """End a session for good, and delete the rows of expired cookies."""
    await session.execute(delete(SignedOut).where(SignedOut.forgotten_at < utc_now()))
    forgotten_at = utc_now() + timedelta(seconds=LIFETIME)
    with suppress(IntegrityError):  # it has been ended already
        async with session.begin_nested():
            session.add(SignedOut(id=session_id, forgotten_at=forgotten_at))


def _serializer(keys: Iterable[str]) -> URLSafeTimedSerializer:
    algorithm = {"key_derivation": "hmac", "digest_method": sha256}
    return URLSafeTimedSerializer(list(keys), salt="session cookie", signer_kwargs=algorithm)


class BrowserMiddleware:
    """Lets browsers authenticate by a session cookie instead of an API key.

    Without a key, a request that changes something is refused if a page of another site sent it,
    and an unauthenticated request for a page is redirected to the sign-in.
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
        """Return an error for a request that is refused; otherwise put its session in the scope."""
        if request.scope["method"] not in _SAFE_METHODS and self._is_cross_site(request.headers):
            return problem(HTTPStatus.FORBIDDEN, _CROSS_SITE)
        cookie = request.cookies.get(COOKIE)  # most callers have none, and skip the rest
        browser = None if cookie is None else read_session(cookie, self._keys)
        if browser is None:
            return None
        state = request.app.state
        if await state.readiness.cause(state.database.check) == NO_ANSWER:  # the query might hang
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, NO_ANSWER)
        try:
            async with state.database.session(read_only=True) as session:
                if await session.get(SignedOut, browser.id) is None:
                    request.scope.update({SESSION: browser, SIGNED_IN: browser.caller})
        except SQLAlchemyError:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, NO_ANSWER)
        return None

    def _is_cross_site(self, headers: Headers) -> bool:
        """Return whether, by its headers, a request comes from a page of a foreign origin.

        Current browsers send Sec-Fetch-Site over https and to this machine, and Origin with every
        method but GET. Programs send neither.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin in self._trusted:  # "*" trusts no origin: only pages named here may use a session
            return False
        if site is not None:
            return site not in {"same-origin", "none"}
        return origin is not None and origin.partition("://")[2] != headers.get("host")


def _sign_in_path(scope: Scope) -> str:
    path = root_path(scope) + "/sign-in"
    if scope["method"] not in {"GET", "HEAD"}:  # a form that was sent after the session's end
        return path
    query = "?" + scope["query_string"].decode("latin-1") if scope["query_string"] else ""
    target = quote(scope["path"]) + query
    return f"{path}?next={quote(target, safe='/')}" if len(target) <= _MAX_TARGET else path
