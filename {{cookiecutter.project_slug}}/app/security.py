"""Checks API keys, before anything of a request's body is read."""

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http import HTTPStatus

import structlog
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import problem
from app.settings import Settings, is_loopback

logger = structlog.get_logger(__name__)

SIGNED_IN = "signed_in"
"""In the scope of a request with a browser session: the name of the API key of the session."""
SIGN_IN = "sign_in"
"""In the scope of a request for a page: the path at which a caller without a key can sign in."""
ADMITTED = "admitted"
"""In the scope of a request: whether it may use routes that need an API key."""
API_KEY_SCHEMES = (
    APIKeyHeader(name="X-API-Key", auto_error=False),
    HTTPBearer(auto_error=False, description="an API key"),
)
"""How a key is sent. As dependencies of a route they only describe it in the API docs."""
MAX_WRONG_KEYS = 20
"""Unknown keys that a client may send in a minute before the answer is 429."""
_WINDOW = 60.0
"""Seconds in which unknown keys are counted."""
_MAX_CLIENTS = 10_000
"""Clients that are counted at a time, to bound the memory; with one more a new minute begins."""
_MAX_ADDRESS = 64
"""Characters kept of a client's address; an IPv6 address with its zone has fewer."""
_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")
_NO_KEY = HTTPException(401, "send an API key as X-API-Key or as a bearer token")
_UNKNOWN_KEY = HTTPException(401, "the API key is not known")
_LOCAL_ONLY = HTTPException(
    403,
    "without API_KEYS only this machine may call, as localhost and not through a proxy, and "
    "no page of another host",
)
_PROXY_HEADERS = (b"x-forwarded-", b"x-real-ip", b"forwarded", b"via")
"""Prefixes of the headers that proxies add; not every proxy adds one."""


class ApiKeys:
    """The keys of the settings, and how many unknown keys each client has sent.

    A known key is always accepted, so that a client that sends wrong ones cannot lock others out.
    `clock` returns seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        keys = [key.get_secret_value().encode() for key in settings.api_keys]
        self._keys = list(zip(keys, settings.api_key_names or ("",) * len(keys), strict=True))
        self._clock = clock
        self._wrong: Counter[str] = Counter()
        self._window_ends = 0.0

    def __bool__(self) -> bool:
        """Return whether there are any keys; without them only this machine may call."""
        return bool(self._keys)

    def name_of(self, sent: bytes) -> str | None:
        """Return the name of a key, "" if it has none, or None if the key is not known."""
        # Every key is compared, each in constant time, so that the time reveals neither how many
        # characters are equal nor the position in the list.
        names = [name for key, name in self._keys if secrets.compare_digest(sent, key)]
        return names[0] if names else None

    def refusal(self, client: str) -> HTTPException:
        """Count an unknown key of a client; return the error for it."""
        now = self._clock()
        if now >= self._window_ends or len(self._wrong) >= _MAX_CLIENTS:
            self._wrong.clear()
            self._window_ends = now + _WINDOW
        self._wrong[client] += 1
        if self._wrong[client] > MAX_WRONG_KEYS:
            return HTTPException(429, "too many unknown API keys; try again later")
        logger.warning("unknown API key", client=client)
        return _UNKNOWN_KEY


@dataclass
class ApiKeyMiddleware:
    """Refuses requests without access, before anything of their body is read.

    `routes` are those of the service, in the order in which they are tried, each with whether it
    is public. The other routes need an API key and a host name of ALLOWED_HOSTS; without API_KEYS
    they answer only to this machine.
    """

    app: ASGIApp
    keys: ApiKeys
    allowed_hosts: Sequence[str]
    routes: Sequence[tuple[BaseRoute, bool]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = None
        refusal = self._refusal(scope)
        scope[ADMITTED] = refusal is None
        # Finding the route comes last, because it takes longer than all other checks.
        if refusal is None or self._is_public(scope):
            await self.app(scope, receive, send)
        else:
            if refusal is _UNKNOWN_KEY:  # counted only here: a public route may have its own keys
                refusal = self.keys.refusal(client_of(scope))
            await _refuse(refusal, scope, receive, send)

    def _refusal(self, scope: Scope) -> HTTPException | None:
        """Return the error for a request that may not use routes that need an API key."""
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        host = host_name(headers.get(b"host", b""))
        names = self.allowed_hosts
        if names and not any(fnmatchcase(host, name) for name in names):
            return HTTPException(400, "the host name of the request is not in ALLOWED_HOSTS")
        if not self.keys:
            return None if _is_local(scope, host, headers) else _LOCAL_ONLY
        return self._refusal_of_key(scope, headers)

    def _is_public(self, scope: Scope) -> bool:
        """Return whether the route that will answer, the first that matches, is public.

        If no route matches path and method, an API key is needed.
        """
        for route, is_public in self.routes:
            if route.matches(scope)[0] is Match.FULL:
                return is_public
        return False

    def _refusal_of_key(self, scope: Scope, headers: Mapping[bytes, bytes]) -> HTTPException | None:
        caller = scope.get(SIGNED_IN)
        if caller is None:
            if not (key := key_in(headers)):
                return _NO_KEY
            caller = self.keys.name_of(key)
        if caller:
            scope["state"]["caller"] = caller
            structlog.contextvars.bind_contextvars(caller=caller)
        return _UNKNOWN_KEY if caller is None else None


def key_in(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the API key of a request; empty if it has none."""
    # Other schemes are ignored: a browser sends the password for a proxy as "Basic".
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return headers.get(b"x-api-key") or (token.strip() if scheme.lower() == b"bearer" else b"")


def client_of(scope: Scope) -> str:
    """Return the address of a caller; "" if it is not known, as with a Unix socket."""
    client = scope.get("client")
    # A proxy may pass on an address that the caller has made up, of any length.
    return str(client[0])[:_MAX_ADDRESS] if client else ""


def host_name(host: bytes) -> str:
    """Return the name in a `Host` header, in lower case and without its port; "" if it has none."""
    match = _HOST.fullmatch(host.decode("latin-1").lower())
    return (match["address"] or match["name"]) if match else ""


def _is_local(scope: Scope, host: str, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a request comes from this machine and was meant for it.

    A page of another site can send a browser on this machine here under the site's host name, and
    a proxy on this machine passes on requests from anywhere.
    """
    is_from_here = is_loopback(client_of(scope)) and is_loopback(host)
    # Pages of any site may open a WebSocket, and with CORS_ORIGINS=* read every answer.
    if b"origin" in headers:
        is_from_here &= is_loopback(host_name(headers[b"origin"].partition(b"://")[2]))
    return is_from_here and not any(name.startswith(_PROXY_HEADERS) for name in headers)


async def _refuse(error: HTTPException, scope: Scope, receive: Receive, send: Send) -> None:
    if error.status_code == HTTPStatus.UNAUTHORIZED and SIGN_IN in scope:
        await RedirectResponse(scope[SIGN_IN], HTTPStatus.SEE_OTHER)(scope, receive, send)
    else:
        await problem(error.status_code, error.detail)(scope, receive, send)
