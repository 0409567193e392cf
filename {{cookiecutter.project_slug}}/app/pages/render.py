"""Pages from Jinja templates: files that end in `.html.j2`.

Everything is escaped. A variable that is not in the context is an error.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from app.security import SIGNED_IN
from app.urls import root_path, route_path

from .links import links

if TYPE_CHECKING:
    from jinja2 import Environment

_SHARED = Path(__file__).with_name("templates")


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
    shared = {
        "service_name": request.app.state.settings.service_name,
        "links": links(request.app),
        "root": root_path(request.scope),
        "path": route_path(request.scope),
        "signed_in": request.scope.get(SIGNED_IN, False),
    }
    text = render_fragment(templates, name, {**shared, **context})
    return HTMLResponse(text, status_code)


def render_fragment(templates: Path, name: str, context: Mapping[str, Any]) -> str:
    """Fill in a template that is a part of a page; raises what `render_page` raises."""
    text = _environment(templates).get_template(name).render(context)
    # Half a character cannot be sent, and NUL is no character of HTML.
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


@cache
def _environment(directory: Path) -> "Environment":
    import jinja2  # noqa: PLC0415 - by the first page: the start of the service can do without

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([directory, _SHARED]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
