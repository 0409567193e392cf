"""Signing in with a key, signing out, and requests from other sites."""

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import count

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Request
from starlette.applications import Starlette
from starlette.routing import Mount
from structlog.contextvars import get_contextvars

from app.security import MAX_WRONG_KEYS
from app.service import create_app
from tests.conftest import API_KEY, PRODUCTION
from worst_headers import WORST_HEADERS, is_cheap

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


addresses = (f"10.0.0.{number}" for number in count(1))


@pytest.fixture
def app(shared_app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setattr(shared_app.state, "links", {}, raising=False)  # tests add their own
    return shared_app


@pytest.fixture
async def browser(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client that sends a browser's headers, keeps cookies and has no key."""
    async with browser_of(app) as browser:
        yield browser


def browser_of(app: FastAPI) -> httpx2.AsyncClient:
    """Return one with a unique address, because wrong keys are counted per address."""
    transport = httpx2.ASGITransport(app, client=(next(addresses), 1))
    return httpx2.AsyncClient(transport=transport, base_url="http://test", headers=PAGE)


async def sign_in(browser: httpx2.AsyncClient, key: str = API_KEY, target: str = "/tasks") -> str:
    response = await browser.post("/sign-in", data={"key": key, "next": target})
    assert response.status_code == 303
    return response.headers["Location"]


async def test_program_without_a_key_is_401_and_not_redirected(browser: httpx2.AsyncClient) -> None:
    for accept in ("*/*", "application/json", "text/event-stream"):
        response = await browser.get("/tasks", headers={"Accept": accept})
        assert response.status_code == 401
        assert response.headers["Content-Type"] == "application/problem+json"


async def test_form_without_a_session_redirects_to_the_sign_in(browser: httpx2.AsyncClient) -> None:
    response = await browser.post("/tasks/x/cancel")

    assert (response.status_code, response.headers["Location"]) == (303, "/sign-in")


async def test_wrong_key_shows_the_form_again(browser: httpx2.AsyncClient) -> None:
    for key in ("wrong", "", f"{API_KEY},other-key", "鍵\0", "x" * 5000):
        response = await browser.post("/sign-in", data={"key": key, "next": "/tasks"})

        assert response.status_code == 401
        assert "The API key is not known." in response.text
        assert '<input name="next" type="hidden" value="/tasks">' in response.text
        assert "Set-Cookie" not in response.headers
        assert "WWW-Authenticate" not in response.headers


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("environment", ["production", "development"])
async def test_session_cookie_has_the_protective_attributes(
    production_env: pytest.MonkeyPatch, environment: str, scheme: str
) -> None:
    production_env.setenv("ENVIRONMENT", environment)
    key = PRODUCTION["API_KEYS"]
    transport = httpx2.ASGITransport(create_app())
    async with httpx2.AsyncClient(transport=transport, base_url=f"{scheme}://test") as browser:
        response = await browser.post("/sign-in", data={"key": f" {key}\n"})

    cookie = response.headers["Set-Cookie"]
    assert key not in cookie
    parts = set(cookie.split("; ")[1:])
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"} <= parts
    assert ("Secure" in parts) is ("https" in scheme or environment == "production")


async def test_sign_out_ends_the_session(browser: httpx2.AsyncClient) -> None:
    await sign_in(browser)
    copied = {"Cookie": f"session={browser.cookies['session']}", "Accept": "application/json"}
    assert (await browser.get("/tasks", headers=copied)).status_code == 200
    response = await browser.post("/sign-out")

    assert (response.status_code, response.headers["Location"]) == (303, "/sign-in")
    assert (await browser.get("/tasks")).status_code == 303
    assert (await browser.get("/tasks", headers=copied)).status_code == 401
    assert (await browser.post("/sign-out", headers=copied)).status_code == 303  # signing out again


async def test_concurrent_sign_outs_all_succeed(browser: httpx2.AsyncClient) -> None:
    for _ in range(10):
        await sign_in(browser)
        headers = {"Cookie": f"session={browser.cookies['session']}"}
        both = await asyncio.gather(*(browser.post("/sign-out", headers=headers) for _ in range(4)))
        assert [response.status_code for response in both] == [303] * 4


async def test_routes_and_logs_know_the_signed_in_caller(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("API_KEYS", API_KEY)
    settings_env.setenv("API_KEY_NAMES", "ann")
    app = create_app()

    @app.get("/caller")
    async def caller(request: Request) -> list[str]:
        return [request.state.caller, get_contextvars()["caller"]]

    async with app.router.lifespan_context(app), browser_of(app) as browser:
        await sign_in(browser)
        assert (await browser.get("/caller")).json() == ["ann", "ann"]


async def test_sign_in_page_redirects_a_signed_in_caller(
    app: FastAPI, browser: httpx2.AsyncClient
) -> None:
    await sign_in(browser)
    to_docs = await browser.get("/sign-in", follow_redirects=True)
    app.state.links["/tasks"] = "Tasks"
    response = await browser.get("/sign-in")

    assert (to_docs.status_code, to_docs.url.path) == (200, "/docs")
    assert (response.status_code, response.headers["Location"]) == (303, "/tasks")


@pytest.mark.parametrize(
    "target",
    [
        "",
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "javascript:alert(1)",
        "evil",
        "/a/../evil",
        "/a/%2e%2e/evil",
        "/é",
    ],
)
async def test_sign_in_never_redirects_to_another_host(
    app: FastAPI, browser: httpx2.AsyncClient, target: str
) -> None:
    assert await sign_in(browser, target=target) == "/"
    app.state.links["/first"] = "First"
    assert await sign_in(browser, target=target) == "/first"


@pytest.mark.parametrize(
    "session", ["", "x", "1.x", ".", "99999999999.", "é", "١٢٣.00", f"99999999999.{'0' * 64}"]
)
async def test_made_up_session_is_401(browser: httpx2.AsyncClient, session: str) -> None:
    headers = [(b"Cookie", b"session=" + session.encode()), (b"Accept", b"application/json")]
    response = await browser.get("/tasks", headers=headers)

    assert response.status_code == 401


async def test_key_header_takes_precedence_over_the_session(browser: httpx2.AsyncClient) -> None:
    await sign_in(browser)
    response = await browser.get("/tasks", headers={"X-API-Key": "wrong"})

    assert response.status_code == 401


CROSS_SITE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://test"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://test:8080"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Origin": ""},
]
SAME_SITE = [
    {},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://test"},
    {"Origin": "https://test"},
]


@pytest.mark.parametrize("headers", CROSS_SITE)
@pytest.mark.parametrize("path", ["/tasks/x/cancel", "/sign-in", "/sign-out"])
async def test_post_from_another_site_is_403(
    browser: httpx2.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    await sign_in(browser)
    response = await browser.post(path, headers=headers)

    assert response.status_code == 403
    assert "another site" in response.json()["detail"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("headers", SAME_SITE)
async def test_post_from_own_pages_is_accepted(
    browser: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    await sign_in(browser)
    response = await browser.post("/tasks/x/cancel", headers=headers)

    assert response.status_code == 404


@pytest.mark.parametrize("headers", CROSS_SITE)
async def test_post_with_a_key_header_is_accepted_from_anywhere(
    client: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    response = await client.post("/tasks/x/cancel", headers=headers)

    assert response.status_code == 404


async def test_post_from_another_site_is_403_without_keys(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.delenv("API_KEYS")
    app = create_app()
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1))

    @app.post("/anything")
    async def anything(_: Request) -> str:
        return "done"

    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as browser:
        evil = await browser.post("/anything", headers={"Sec-Fetch-Site": "cross-site"})
        mine = await browser.post("/anything", headers={"Sec-Fetch-Site": "same-origin"})
        form = await browser.get("/sign-in", params={"next": "/anything"})

    assert (evil.status_code, mine.status_code) == (403, 200)
    assert (form.status_code, form.headers["Location"]) == (303, "/anything")


@pytest.mark.parametrize("is_mounted", [True, False])
async def test_every_address_has_the_root_path(app: FastAPI, is_mounted: bool) -> None:
    app.state.links["/tasks"] = "Tasks"
    transport = httpx2.ASGITransport(app, root_path="/svc")
    if is_mounted:
        transport = httpx2.ASGITransport(Starlette(routes=[Mount("/svc", app)]))
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://test/svc/", headers=PAGE
    ) as browser:
        refused = await browser.get("tasks")
        form = await browser.get("sign-in")
        wrong = await browser.post("sign-in", data={"key": "wrong"})
        signed_in = await browser.post("sign-in", data={"key": API_KEY, "next": "/svc/tasks"})
        elsewhere = await browser.post("sign-in", data={"key": API_KEY, "next": "/other"})
        signed_out = await browser.post("sign-out")

    assert refused.headers["Location"] == "/svc/sign-in?next=/svc/tasks"
    addresses = re.findall(r'(?:href|src|action)="(/[^"]*)"', form.text)
    assert addresses
    assert all(address.startswith("/svc/") for address in addresses)
    assert wrong.status_code == 401
    assert signed_in.headers["Location"] == "/svc/tasks"
    assert "Path=/svc/" in signed_in.headers["Set-Cookie"]
    assert elsewhere.headers["Location"] == "/svc/tasks"  # the first of the links
    assert signed_out.headers["Location"] == "/svc/sign-in"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/sign-in"), ("GET", "/static/pages/pages.css")]
)
async def test_public_routes_parse_every_header_quickly(
    browser: httpx2.AsyncClient, method: str, path: str
) -> None:
    for header in WORST_HEADERS:
        assert await is_cheap(browser, method, path, *header), header


async def test_too_large_sign_in_form_is_refused(browser: httpx2.AsyncClient) -> None:
    assert (await browser.post("/sign-in", data={"key": "k" * 10_000})).status_code == 413
    assert (await browser.post("/sign-in", files={"key": API_KEY.encode()})).status_code == 401


async def test_wrong_keys_are_limited_per_client(browser: httpx2.AsyncClient) -> None:
    for _ in range(MAX_WRONG_KEYS):
        assert (await browser.post("/sign-in", data={"key": "wrong"})).status_code == 401
    limited = await browser.post("/sign-in", data={"key": "wrong"})

    assert limited.status_code == 429
    assert "Too many unknown API keys; try again later." in limited.text
    assert await sign_in(browser)  # a valid key still works, so nobody can lock others out


async def test_sign_in_does_not_return_to_a_long_address(browser: httpx2.AsyncClient) -> None:
    address = "/tasks?a=" + "b" * 5000
    refused = await browser.get(address)
    form = await browser.get(refused.headers["Location"])

    assert refused.headers["Location"] == "/sign-in"
    assert (form.status_code, "<form" in form.text) == (200, True)


async def test_401_of_a_route_does_not_redirect_a_signed_in_caller(
    app: FastAPI, browser: httpx2.AsyncClient
) -> None:
    """The sign-in would redirect back, in an endless loop."""

    @app.get("/secret")
    async def secret() -> None:
        raise HTTPException(401, "a second factor is needed")

    await sign_in(browser)

    assert (await browser.get("/secret")).status_code == 401


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site"}])
async def test_basic_password_of_a_proxy_is_not_taken_for_a_key(
    browser: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    """A browser sends it with every request, also with those that other sites cause."""
    await sign_in(browser)
    headers = {**headers, "Authorization": "Basic bWU6c2VjcmV0"}

    assert (await browser.get("/tasks", headers=headers)).status_code == 200
    posted = await browser.post("/tasks/x/cancel", headers=headers)
    assert posted.status_code == (403 if "Sec-Fetch-Site" in headers else 404)


async def test_sign_in_redirects_when_no_keys_are_set(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.delenv("API_KEYS")
    app = create_app()
    app.state.links = {}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://localhost", headers=PAGE
    ) as browser:
        response = await browser.get("/sign-in")

    assert (response.status_code, response.headers["Location"]) == (303, "/")
