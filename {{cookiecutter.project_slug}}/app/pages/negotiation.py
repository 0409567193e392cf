"""Page or JSON? Who names `text/html` in `Accept` gets a page, as browsers do."""

from starlette.requests import HTTPConnection


def prefers_html(request: HTTPConnection) -> bool:
    """Tell whether the caller wants a page. An answer that depends on it says `Vary: Accept`."""
    return "text/html" in request.headers.get("accept", "").lower()
