"""The API docs at `/docs`, except in production, and `/`, which redirects to them or to a page."""

from html import escape

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse

from app.feature import Feature
from app.settings import Settings
from app.urls import root_path

# FastAPI's page has inline script and style, loads more from a CDN, and the schema from this host.
_POLICY = (
    "default-src 'none'; connect-src 'self'; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net; img-src 'self' data:; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_ROOT_ELEMENT = '<div id="swagger-ui">'
_FALLBACK = (
    "<p>This page needs a script from cdn.jsdelivr.net. If it does not load, "
    '<a href="{url}">{url}</a> has the same information.</p>'
)


def create_feature(settings: Settings) -> Feature:
    """Make the feature. Without API keys it answers only this machine, as the API does."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/", _show_index)
    if not settings.in_production:
        router.add_api_route("/docs", _show_docs)
    return Feature(name="docs", router=router, public=bool(settings.api_keys))


async def _show_index(request: Request) -> Response:
    """Redirect to the docs; in production to the first page or, without pages, to readiness."""
    state = request.app.state
    first = next(iter(state.links), "/health/ready")
    target = first if state.settings.in_production else "/docs"
    return RedirectResponse(root_path(request.scope) + target)


async def _show_docs(request: Request) -> Response:
    """Show the API docs, or a text that says what is wrong if their script does not load."""
    url = escape(root_path(request.scope) + "/openapi.json")
    title = escape(request.app.title)
    page = get_swagger_ui_html(openapi_url=url, title=title, swagger_favicon_url="data:,")
    text = bytes(page.body).decode()
    text = text.replace(_ROOT_ELEMENT, _ROOT_ELEMENT + _FALLBACK.format(url=url), 1)
    return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY})
