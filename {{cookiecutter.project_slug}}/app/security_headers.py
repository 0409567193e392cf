"""Headers that tell a browser what it may do with an answer: nothing that is not needed."""

from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.urls import route_path

Header = tuple[bytes, bytes]

_CSP = b"content-security-policy"
_CACHE = b"cache-control"
_POLICY = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    b"img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_EVERYWHERE: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not "no-referrer": with it browsers send forms with "Origin: null".
    (b"referrer-policy", b"same-origin"),
)
# What the service answers is for those who hold a key, and is old soon.
_NO_STORE: Header = (_CACHE, b"no-store")
_HSTS: Header = (b"strict-transport-security", b"max-age=31536000")

# FastAPI's pages of the API docs are not ours: they take script, style and fonts from these hosts,
# and hold both script and style themselves. They exist outside production only.
_DOCS_POLICY = (
    b"default-src 'none'; connect-src 'self'; worker-src blob:; "
    b"script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    b"style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    b"font-src https://fonts.gstatic.com; "
    b"img-src 'self' data: https://fastapi.tiangolo.com https://cdn.redoc.ly; "
    b"base-uri 'none'; frame-ancestors 'none'"
)
DOCS_POLICIES: Mapping[str, bytes] = dict.fromkeys(
    ("/docs", "/docs/oauth2-redirect", "/redoc"), _DOCS_POLICY
)


class SecurityHeaders:
    """Adds the headers to every answer, unless it brings a policy or `Cache-Control` of its own.

    `policies` has other content security policies by path. With `hsts`, answers over https tell
    browsers to come by https only, for a year.
    """

    def __init__(self, app: ASGIApp, *, policies: Mapping[str, bytes], hsts: bool) -> None:
        self._app = app
        self._hsts: tuple[Header, ...] = (_HSTS,) if hsts else ()
        self._policies = policies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._added(scope, message["headers"])]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _added(self, scope: Scope, present: Iterable[Header]) -> Iterable[Header]:
        names = {name for name, _ in present}
        yield from _EVERYWHERE
        if _CACHE not in names:
            yield _NO_STORE
        if _CSP not in names:
            policies = self._policies
            yield _CSP, policies.get(route_path(scope), _POLICY) if policies else _POLICY
        if scope.get("scheme") == "https":
            yield from self._hsts
