"""The API docs at `/docs`, outside production, and `/`, which leads to what there is to see."""

from html import escape

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse

from app.feature import Feature
from app.settings import Settings
from app.urls import root_path

# FastAPI's page has script and style in it and from a CDN, and asks this host for the rest.
_POLICY = (
    "default-src 'none'; connect-src 'self'; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net; img-src 'self' data:; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_EMPTY = '<div id="swagger-ui">'
_WITHOUT_SCRIPT = (
    "<p>This page is drawn by a script from cdn.jsdelivr.net. While that cannot be reached, "
    '<a href="{url}">{url}</a> says the same.</p>'
)


def create_feature(settings: Settings) -> Feature:
    """Make the feature. Without keys it is, as all the rest, for this machine only."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/", _show_index)
    if not settings.in_production:
        router.add_api_route("/docs", _show_docs)
    return Feature(name="docs", router=router, public=bool(settings.api_keys))


async def _show_index(request: Request) -> Response:
    """Lead to the docs; in production to the first page, or to the health if there is none."""
    state = request.app.state
    first = next(iter(state.links), "/health/ready")
    target = first if state.settings.in_production else "/docs"
    return RedirectResponse(root_path(request.scope) + target)


async def _show_docs(request: Request) -> Response:
    """Show the API docs; the page says what is wrong if its script does not come."""
    url = escape(root_path(request.scope) + "/openapi.json")
    title = escape(request.app.title)
    page = get_swagger_ui_html(openapi_url=url, title=title, swagger_favicon_url="data:,")
    text = bytes(page.body).decode()
    text = text.replace(_EMPTY, _EMPTY + _WITHOUT_SCRIPT.format(url=url), 1)
    return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY})
