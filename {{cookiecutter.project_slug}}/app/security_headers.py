"""Headers that tell a browser what an answer may do: nothing that the service does not need."""

from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

_CSP = b"content-security-policy"
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
    """Adds the headers to every answer. One that brings a policy of its own keeps it.

    `policies` has other content security policies by path. With `hsts`, answers over https tell
    browsers to come by https only, for a year.
    """

    def __init__(self, app: ASGIApp, *, policies: Mapping[str, bytes], hsts: bool) -> None:
        self._app = app
        self._hsts: tuple[Header, ...] = (_HSTS,) if hsts else ()
        self._headers = (*_EVERYWHERE, (_CSP, _POLICY))
        self._headers_by_path = {
            path: (*_EVERYWHERE, (_CSP, policy)) for path, policy in policies.items()
        }

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

    def _added(self, scope: Scope, present: Iterable[Header]) -> tuple[Header, ...]:
        added = self._headers_by_path.get(scope["path"], self._headers)
        for name, _ in present:
            if name == _CSP:
                added = _EVERYWHERE
        return added + self._hsts if scope.get("scheme") == "https" else added
