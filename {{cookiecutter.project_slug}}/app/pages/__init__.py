"""HTML pages that are rendered on the server, for features that have some.

A page is a template named `*.html.j2` that extends `templates/base.html.j2`. All values are
escaped, and the content security policy allows no inline script or style, and no file of another
host. Signing in and out is a feature, `app/features/pages`.
"""

import mimetypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from starlette.requests import HTTPConnection
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from app.security import ADMITTED, SIGNED_IN
from app.templates import render
from app.urls import root_path

STATIC = Path(__file__).with_name("static")
VARY = {"Vary": "Accept"}
"""Headers of a page, and of the JSON that programs get at the same address."""
_SHARED_TEMPLATES = Path(__file__).with_name("templates")


def prefers_html(request: HTTPConnection) -> bool:
    """Return whether `Accept` names `text/html`, as it does for browsers: they want a page.

    An answer that depends on it must have the headers `VARY`.
    """
    return "text/html" in request.headers.get("accept", "").lower()


def render_page(
    request: Request,
    templates: Path,
    name: str,
    context: Mapping[str, Any],
    status_code: int = 200,
) -> HTMLResponse:
    """Render the template `name` from the folder `templates`, or from the shared ones.

    Raises jinja2.TemplateNotFound, and jinja2.UndefinedError for a variable without a value.
    """
    root = root_path(request.scope)
    shared = {
        "service_name": request.app.title,
        # Unauthenticated callers, at the sign-in, do not see which pages there are.
        "links": request.app.state.links if request.scope.get(ADMITTED) else {},
        "root": root,
        "path": request.scope["path"].removeprefix(root),
        "signed_in": request.scope.get(SIGNED_IN) is not None,
    }
    text = render(name, {**shared, **context}, templates, _SHARED_TEMPLATES)
    # Lone surrogates cannot be encoded, and HTML does not allow NUL.
    text = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return HTMLResponse(text, status_code, VARY)


class StaticFolder(StaticFiles):
    """Styles, scripts and pictures: `router.mount("/static/<feature>", StaticFolder(...))`.

    They contain no secrets, so they need no API key. Browsers cache them, but ask each time whether
    they have changed, so that a page never gets the style of another version.
    """

    is_public = True
    """Read by `Feature`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the whole file; anybody may ask, and a hundred ranges would take 15 ms."""
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Answer with a file, or with 304 if it has not changed."""
        _register_media_types()
        response = super().file_response(*args, **kwargs)
        response.headers.update({"Cache-Control": "no-cache", "Accept-Ranges": "none"})
        return response


@cache
def _register_media_types() -> None:
    """Register the media types that browsers expect, when the first file is sent.

    Otherwise Python uses those of the system, which may differ; a browser that must not guess
    (nosniff) would then refuse the files.
    """
    mimetypes.add_type("text/css", ".css")
    mimetypes.add_type("text/javascript", ".js")
    mimetypes.add_type("image/svg+xml", ".svg")
