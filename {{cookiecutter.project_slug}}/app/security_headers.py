"""Headers that tell a browser what it may do with an answer: nothing that is not needed."""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.urls import route_path

_CSP = "Content-Security-Policy"
_HEADERS = {
    _CSP: (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with it browsers send forms with "Origin: null".
    "Referrer-Policy": "same-origin",
    # What the service answers is for those who hold a key, and is old soon.
    "Cache-Control": "no-store",
}
_HSTS = {"Strict-Transport-Security": "max-age=31536000"}

# FastAPI's pages of the API docs are not ours: they take script, style and fonts from these hosts,
# and hold both script and style themselves. They exist outside production only.
_DOCS_POLICY = (
    "default-src 'none'; connect-src 'self'; worker-src blob:; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    "font-src https://fonts.gstatic.com; "
    "img-src 'self' data: https://fastapi.tiangolo.com https://cdn.redoc.ly; "
    "base-uri 'none'; frame-ancestors 'none'"
)
DOCS_POLICIES: Mapping[str, str] = dict.fromkeys(
    ("/docs", "/docs/oauth2-redirect", "/redoc"), _DOCS_POLICY
)


class SecurityHeaders:
    """Adds to every answer those of the headers that it does not bring itself.

    `policies` has other content security policies by path. With `hsts`, answers over https tell
    browsers to come by https only, for a year.
    """

    def __init__(self, app: ASGIApp, *, policies: Mapping[str, str], hsts: bool) -> None:
        self._app = app
        self._policies = policies
        self._hsts = hsts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        hsts = _HSTS if self._hsts and scope.get("scheme") == "https" else {}
        policy = self._policies.get(route_path(scope), _HEADERS[_CSP])
        ours = Headers({**_HEADERS, **hsts, _CSP: policy}).raw

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = {name.lower() for name, _ in message.get("headers", ())}
                missing = [header for header in ours if header[0] not in theirs]
                message["headers"] = [*message.get("headers", ()), *missing]
            await send(message)

        await self._app(scope, receive, send_with_headers)
