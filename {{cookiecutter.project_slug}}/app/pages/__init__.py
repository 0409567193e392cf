"""Pages for people: HTML made on the server, for features that have some.

A page is a template that extends `templates/base.html.j2` and ends in `.html.j2`. Everything is
escaped, and the content security policy allows no inline script or style and no file of another
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

from app.security import ADMITTED, SIGNED_IN
from app.templates import render
from app.urls import root_path

STATIC = Path(__file__).with_name("static")
VARY = {"Vary": "Accept"}
"""Of a page, and of what a program gets instead of it at the same address."""
_SHARED = Path(__file__).with_name("templates")


def prefers_html(request: HTTPConnection) -> bool:
    """Tell whether a caller names `text/html` in `Accept`, as browsers do, and so wants a page.

    An answer that depends on it says so with `VARY`.
    """
    return "text/html" in request.headers.get("accept", "").lower()


def render_page(
    request: Request,
    templates: Path,
    name: str,
    context: Mapping[str, Any],
    status_code: int = 200,
) -> HTMLResponse:
    """Fill in the template `name` of the folder `templates`, or of the shared ones.

    Raises jinja2.TemplateNotFound, and jinja2.UndefinedError for a variable without a value.
    """
    root = root_path(request.scope)
    shared = {
        "service_name": request.app.title,
        # A stranger at the sign-in does not see what there is behind it.
        "links": request.app.state.links if request.scope.get(ADMITTED) else {},
        "root": root,
        "path": request.scope["path"].removeprefix(root),
        "signed_in": request.scope.get(SIGNED_IN) is not None,
    }
    text = render(name, {**shared, **context}, templates, _SHARED)
    # Half a character cannot be sent, and NUL is no character of HTML.
    text = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return HTMLResponse(text, status_code, VARY)


class StaticFolder(StaticFiles):
    """Style, script, pictures: `router.mount("/static/<feature>", StaticFolder(...))`.

    They hold nothing secret, so no key is asked for. A browser keeps them and asks each time
    whether they are current: a page never meets the style of another version.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Answer with a file, or with 304 if it has not changed."""
        _correct_types()
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


@cache
def _correct_types() -> None:
    """Name the types of files as browsers do, once there is a file to send.

    Python asks the system, which may know them by other names; a browser told not to guess
    (nosniff) would then refuse them.
    """
    mimetypes.add_type("text/css", ".css")
    mimetypes.add_type("text/javascript", ".js")
    mimetypes.add_type("image/svg+xml", ".svg")
