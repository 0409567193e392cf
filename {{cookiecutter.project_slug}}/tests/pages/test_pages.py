"""Pages: signing in and out, who is refused, and how a feature adds a page."""

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Request, Response

from app.pages import StaticFolder, prefers_html, render_page
from app.service import create_app
from tests.conftest import API_KEY, PRODUCTION

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
TEMPLATES = Path(__file__).with_name("templates")
HOSTILE = "<script>alert('x')</script>"


def visit(app: FastAPI, url: str = "http://test", root_path: str = "") -> httpx2.AsyncClient:
    """Return a client that acts as a browser: it asks for HTML, keeps cookies, has no key."""
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1), root_path=root_path)
    return httpx2.AsyncClient(transport=transport, base_url=url, headers=PAGE)


@pytest.fixture
def app(shared_app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setattr(shared_app.state, "links", {}, raising=False)  # each test adds its own
    return shared_app


@pytest.fixture
async def browser(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with visit(app) as browser:
        yield browser


async def sign_in(browser: httpx2.AsyncClient, target: str = "/tasks") -> str:
    response = await browser.post("/sign-in", data={"key": API_KEY, "next": target})
    assert response.status_code == 303
    return str(response.headers["Location"])


async def test_a_page_without_a_key_redirects_to_the_sign_in(browser: httpx2.AsyncClient) -> None:
    refused = await browser.get("/tasks", params={"a": "b&c"})
    assert refused.status_code == 303
    form = await browser.get(refused.headers["Location"])
    assert '<input name="next" type="hidden" value="/tasks?a=b%26c">' in form.text
    wrong = await browser.post("/sign-in", data={"key": "wrong", "next": "/tasks"})
    assert wrong.status_code == 401
    assert "The API key is not known." in wrong.text

    assert await sign_in(browser, "/tasks?a=b%26c") == "/tasks?a=b%26c"
    assert (await browser.get("/tasks")).json()["queued"] == 0


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}])
async def test_an_unauthenticated_visitor_does_not_see_which_pages_exist(
    app: FastAPI, browser: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    app.state.links["/payroll"] = "Payroll"
    page = await browser.get("/sign-in", headers=headers)
    wrong = await browser.post("/sign-in", data={"key": "wrong"}, headers=headers)

    assert (page.status_code, wrong.status_code) == (200, 401)
    assert "payroll" not in (page.text + wrong.text).lower()


@pytest.mark.parametrize("environment", ["production", "development"])
async def test_the_session_cookie_is_protected(
    production_env: pytest.MonkeyPatch, environment: str
) -> None:
    production_env.setenv("ENVIRONMENT", environment)
    async with visit(create_app()) as browser:
        response = await browser.post("/sign-in", data={"key": PRODUCTION["API_KEYS"]})

    cookie = response.headers["Set-Cookie"]
    assert PRODUCTION["API_KEYS"] not in cookie
    parts = set(cookie.split("; ")[1:])
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"} <= parts
    assert ("Secure" in parts) is (environment == "production")


async def test_signing_out_ends_the_session_of_copied_cookies(browser: httpx2.AsyncClient) -> None:
    await sign_in(browser)
    copied = {"Cookie": f"session={browser.cookies['session']}", "Accept": "application/json"}
    assert (await browser.get("/tasks", headers=copied)).status_code == 200
    response = await browser.post("/sign-out")

    assert (response.status_code, response.headers["Location"]) == (303, "/sign-in")
    assert (await browser.get("/tasks")).status_code == 303
    assert (await browser.get("/tasks", headers=copied)).status_code == 401


async def test_a_session_ends_when_its_key_is_removed(
    browser: httpx2.AsyncClient, settings_env: pytest.MonkeyPatch
) -> None:
    await sign_in(browser)
    settings_env.setenv("API_KEYS", "other-key")
    async with visit(create_app()) as other:
        other.cookies = browser.cookies
        assert (await other.get("/tasks")).status_code == 303


async def test_a_session_ends_after_twelve_hours(
    browser: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sign_in(browser)
    copied = {"Cookie": f"session={browser.cookies['session']}"}
    later = time.time() + 12 * 3600 + 1
    monkeypatch.setattr(time, "time", lambda: later)

    assert (await browser.get("/tasks", headers=copied)).status_code == 303


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
async def test_the_sign_in_does_not_redirect_to_another_host(
    app: FastAPI, browser: httpx2.AsyncClient, target: str
) -> None:
    app.state.links["/first"] = "First"

    assert await sign_in(browser, target) == "/first"


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 404)]
)
async def test_a_post_from_a_page_of_another_site_is_refused(
    browser: httpx2.AsyncClient, site: str, status: int
) -> None:
    await sign_in(browser)
    response = await browser.post("/tasks/x/cancel", headers={"Sec-Fetch-Site": site})

    assert response.status_code == status


async def test_a_feature_can_add_a_page_and_static_files(
    app: FastAPI, browser: httpx2.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "mine.css").write_text("b { color: red }", encoding="utf-8")
    router = APIRouter()
    router.mount("/static/mine", StaticFolder(tmp_path))

    @router.get("/mine")
    async def mine(request: Request) -> Response:
        if not prefers_html(request):
            return Response("no page")
        return render_page(request, TEMPLATES, "mine.html.j2", {"word": HOSTILE})

    app.include_router(router)
    app.state.links["/mine"] = "Mine"
    await sign_in(browser)
    page = await browser.get("/mine")
    style = await browser.get("/static/mine/mine.css")

    assert "<b>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;</b>" in page.text
    assert '<form method="post" action="/sign-out">' in page.text
    assert '<a href="/mine" aria-current="page">Mine</a>' in page.text
    assert (await browser.get("/mine", headers={"Accept": "*/*"})).text == "no page"
    assert style.headers["Content-Type"] == "text/css; charset=utf-8"
    assert style.headers["Cache-Control"] == "no-cache"


async def test_every_url_has_the_root_path(app: FastAPI) -> None:
    app.state.links["/tasks"] = "Tasks"
    async with visit(app, "http://test/svc/", root_path="/svc") as browser:
        refused = await browser.get("tasks")
        form = await browser.get("sign-in")
        signed_in = await browser.post("sign-in", data={"key": API_KEY, "next": "/svc/tasks"})

    assert refused.headers["Location"] == "/svc/sign-in?next=/svc/tasks"
    addresses = re.findall(r'(?:href|src|action)="(/[^"]*)"', form.text)
    assert addresses
    assert all(address.startswith("/svc/") for address in addresses)
    assert signed_in.headers["Location"] == "/svc/tasks"
    assert "Path=/svc/" in signed_in.headers["Set-Cookie"]
