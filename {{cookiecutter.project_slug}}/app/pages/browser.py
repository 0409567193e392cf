"""What the service does for a browser: session cookie, cross-site check, way to the sign-in."""

from http import HTTPStatus
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import RETRY_AFTER, problem
from app.security import SIGNED_IN
from app.settings import Settings
from app.urls import root_path, route_path

from .render import prefers_html
from .session import COOKIE, is_signed_out, read_session

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CROSS_SITE = (
    "this was sent by a page of another site; a program sends its API key as X-API-Key or as a "
    "bearer token"
)


class BrowserMiddleware:
    """Lets people use with a browser what programs use with a key.

    A request with a session cookie needs no key. One that changes something and carries no key is
    refused if a page of another site sent it. Who asks for a page without a key is sent to the
    sign-in.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._keys = settings.api_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or _brings_a_key(scope):
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        if scope["method"] not in _SAFE and _is_cross_site(request.headers):
            await problem(HTTPStatus.FORBIDDEN, _CROSS_SITE)(scope, receive, send)
            return
        try:
            scope[SIGNED_IN] = await self._is_signed_in(request)
        except SQLAlchemyError:
            unknown = "the database does not answer"
            answer = problem(HTTPStatus.SERVICE_UNAVAILABLE, unknown, headers=RETRY_AFTER)
            await answer(scope, receive, send)
            return
        # Who is signed in, or needs not be, would be sent back from there.
        if self._keys and not scope[SIGNED_IN] and prefers_html(request):
            send = _to_sign_in(scope, receive, send)
        await self._app(scope, receive, send)

    async def _is_signed_in(self, request: HTTPConnection) -> bool:
        cookie = request.cookies.get(COOKIE)
        session_id = read_session(cookie, self._keys) if cookie else None
        if session_id is None:
            return False
        return not await is_signed_out(session_id, request.app.state.database)


def _brings_a_key(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "x-api-key" in headers or "authorization" in headers


def _is_cross_site(headers: Headers) -> bool:
    """Tell whether a browser says that the request comes from a page of another origin.

    All browsers of today send Sec-Fetch-Site over https and to this machine, and Origin with
    whatever is not a GET. Programs send neither.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _to_sign_in(scope: Scope, receive: Receive, send: Send) -> Send:
    """Return a `send` that puts the way to the sign-in instead of "unauthorized"."""
    replaced = False

    async def send_or_redirect(message: Message) -> None:
        nonlocal replaced
        if message["type"] == "http.response.start" and message["status"] == 401:  # noqa: PLR2004
            replaced = True
            redirect = RedirectResponse(_sign_in_path(scope), HTTPStatus.SEE_OTHER)
            await redirect(scope, receive, send)
        elif not replaced:
            await send(message)

    # The sign-in itself says 401 to a wrong key, with the form to try again.
    return send if route_path(scope) == "/sign-in" else send_or_redirect


def _sign_in_path(scope: Scope) -> str:
    path = root_path(scope) + "/sign-in"
    if scope["method"] not in {"GET", "HEAD"}:  # a form, sent when the session had ended
        return path
    query = "?" + scope["query_string"].decode("latin-1") if scope["query_string"] else ""
    return f"{path}?next=" + quote(quote(scope["path"]) + query, safe="/")
