"""The choice between a page and JSON by the Accept header."""

import pytest
from starlette.requests import Request

from app.pages import prefers_html

FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("accept", [FIREFOX, "text/html", "TEXT/HTML;charset=utf-8"])
def test_caller_that_names_html_gets_a_page(accept: str) -> None:
    assert prefers_html(request(accept))


@pytest.mark.parametrize("accept", [None, "", "*/*", "application/json, text/plain, */*", "\xff"])
def test_any_other_caller_gets_json(accept: str | None) -> None:
    assert not prefers_html(request(accept))


def request(accept: str | None) -> Request:
    headers = [] if accept is None else [(b"accept", accept.encode("latin-1"))]
    return Request({"type": "http", "headers": headers})
