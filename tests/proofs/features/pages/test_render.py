"""Pages rendered from templates."""

from pathlib import Path

import jinja2
import pytest
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute

from app.pages import render_page

HOSTILE = "<script>alert('x')</script>\"&\0\ud800"
ESCAPED = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&amp;"


TEMPLATES = Path(__file__).with_name("templates")


def request_for(app: FastAPI, **scope: object) -> Request:
    headers = [(b"host", b"test")]
    start = {"type": "http", "method": "GET", "path": "/page", "headers": headers, "app": app}
    return Request({**start, **scope})


def render(app: FastAPI, **scope: object) -> str:
    response = render_page(request_for(app, **scope), TEMPLATES, "page.html.j2", {"word": "hello"})
    return bytes(response.body).decode()


async def test_page_has_status_headers_and_content(app: FastAPI) -> None:
    response = render_page(request_for(app), TEMPLATES, "page.html.j2", {"word": "hello"}, 418)

    text = bytes(response.body).decode()
    assert response.status_code == 418
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert '<meta name="viewport"' in text
    assert '<link rel="stylesheet" href="/static/pages/pages.css">' in text
    assert f"<title>hello · {app.title}</title>" in text
    assert '<p title="hello">hello</p>' in text


async def test_values_of_the_context_are_escaped(app: FastAPI) -> None:
    response = render_page(request_for(app), TEMPLATES, "page.html.j2", {"word": HOSTILE})

    text = bytes(response.body).decode()
    assert "<script" not in text
    assert f'<p title="{ESCAPED}\N{REPLACEMENT CHARACTER}?">' in text


async def test_undefined_variable_is_an_error(app: FastAPI) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'word' is undefined"):
        render_page(request_for(app), TEMPLATES, "page.html.j2", {})


async def test_every_page_has_the_links_and_marks_the_current_one(app: FastAPI) -> None:
    app.state.links = {"/first": "First", "/second": "<i>"}
    text = render(app, path="/svc/first", root_path="/svc", admitted=True)

    assert '<a href="/svc/first" aria-current="page">First</a>' in text
    assert '<a href="/svc/second">&lt;i&gt;</a>' in text
    # The prefix of an including router is in none of its routes.
    subpage = render(app, path="/first/name", route=APIRoute("/name", list), admitted=True)
    assert '<a href="/first" aria-current="true">First</a>' in subpage


@pytest.mark.parametrize("signed_in", [True, False])
async def test_sign_out_button_is_shown_to_signed_in_users(app: FastAPI, signed_in: bool) -> None:
    text = render(app, signed_in="ann" if signed_in else None)

    assert ('<form method="post" action="/sign-out">' in text) is signed_in
