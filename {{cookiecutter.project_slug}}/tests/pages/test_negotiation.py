"""Page or JSON: q-values, the most specific range, and headers that make no sense."""

import pytest
from starlette.requests import Request

from app.pages.negotiation import prefers_html

FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)


def request(*accept: str) -> Request:
    headers = [(b"accept", value.encode("latin-1")) for value in accept]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    "accept",
    [
        FIREFOX,
        CHROME,
        "text/html",
        "TEXT/HTML",
        "text/*",
        "text/html;charset=utf-8",
        'text/html;charset="UTF-8"',
        "application/json;q=0.4, text/html;q=0.5",
        "application/json;q=0, */*",
        "*/*;q=0.1 , text/html ; Q = 0.2",
        ",,;,text/html",
        'text/plain;x="a,b;q=0", text/html',
    ],
)
def test_a_page(accept: str) -> None:
    assert prefers_html(request(accept))


@pytest.mark.parametrize(
    "accept",
    [
        "",
        " ",
        "*/*",
        "application/json",
        "application/json, text/plain, */*",
        "application/*",
        "text/html, application/json",
        "text/html, */*",
        "text/html;q=0.4, application/json;q=0.5",
        "text/html;q=0",
        "text/*, text/html;q=0, application/json",
        "text/html;q=0, */*",
        "text/html;level=1",
        "text/html;level=1, */*;q=0.1",
        "text/plain, image/png",
        "*/html",
        "text",
        # not a q-value: the range does not count
        "text/html;q=2",
        "text/html;q=1.5",
        "text/html;q=-1",
        "text/html;q=nan",
        "text/html;q=",
        "text/html;q=0.1234",
        'text/plain;x=",text/html,", application/json;q=0.1',
        '"' * 1000,
        '"\\' * 1000,
        "text/html\x00",
        "\xff/\xfe;\xff=\xff",
        ";" * 100_000,
    ],
)
def test_json(accept: str) -> None:
    assert not prefers_html(request(accept))


def test_no_header() -> None:
    assert not prefers_html(request())


def test_several_headers_are_one_list() -> None:
    assert prefers_html(request("application/json;q=0.1", "text/html"))
    assert not prefers_html(request("text/html;q=0.1", "application/json"))
