"""Every request: its id, the size of its head, HEAD, security headers and CORS."""

import re
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI
from structlog.contextvars import bound_contextvars, get_contextvars

from app.service import create_app

from .conftest import API_KEY
from .problems import check_problem


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


@pytest.mark.parametrize("path", ["/nothing", "/health/live"])
async def test_every_response_has_the_request_id(client: httpx2.AsyncClient, path: str) -> None:
    for method in ("GET", "PUT", "BREW"):
        response = await client.request(method, path, headers={"X-Request-ID": "mine"})

        assert response.headers.get_list("X-Request-ID") == ["mine"]


async def test_an_invalid_request_id_is_replaced(client: httpx2.AsyncClient) -> None:
    for given in (b"", b"x" * 65, b"a b", b"a\nb", b"a\r\nX-Evil: 1", b"abc\n", b"<b>", b"\xff"):
        response = await client.get("/nothing", headers=[(b"X-Request-ID", given)])

        assert re.fullmatch("[0-9a-f]{32}", response.json()["request_id"]), given
        assert response.headers["X-Request-ID"] == response.json()["request_id"]
        assert "X-Evil" not in response.headers


async def test_a_request_head_over_16_kib_is_refused(client: httpx2.AsyncClient) -> None:
    for path in (f"/?{'a=1&' * 5_000}", f"/health/live?{'a&' * 10_000}", f"/{'a/' * 10_000}"):
        check_problem(await client.get(path), 431)


async def test_a_request_does_not_inherit_the_log_context_of_the_one_before(
    client: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    # uvicorn starts a request that was pipelined in the context of the request before it.
    with bound_contextvars(caller="the one before"):
        await client.get("/tasks")

        assert "the one before" not in capsys.readouterr().out
        assert "caller" not in get_contextvars()


async def test_head_is_answered_like_get_but_without_a_body(client: httpx2.AsyncClient) -> None:
    for path in ("/health/ready", "/health/live", "/tasks", "/docs"):
        head, get = await client.head(path), await client.get(path)

        assert head.status_code == get.status_code == 200, path
        assert head.content == b""
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert (await client.head("/nowhere")).status_code == 404


async def test_every_response_has_the_security_headers(
    app: FastAPI, client: httpx2.AsyncClient
) -> None:
    @app.get("/test-requests/bug")
    async def bug() -> None:
        raise RuntimeError

    large = await client.post("/health/live", content=b"x" * 70_000)
    paths = ("/health/live", "/nothing", "/docs", "/test-requests/bug")
    for response in [large, *[await client.get(path) for path in paths]]:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


@pytest.fixture
async def page(settings_env: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client that acts as a page of a site in CORS_ORIGINS."""
    settings_env.setenv("CORS_ORIGINS", "https://app.example.com, https://other.example.com")
    transport = httpx2.ASGITransport(create_app())
    headers = {"Origin": "https://app.example.com", "Sec-Fetch-Site": "cross-site"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as page:
        yield page


async def test_a_preflight_needs_a_configured_origin(page: httpx2.AsyncClient) -> None:
    headers = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-API-Key",
    }
    allowed = await page.options("/tasks", headers=headers)
    denied = await page.options("/tasks", headers={**headers, "Origin": "https://evil.example.com"})

    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert "X-API-Key" in allowed.headers["Access-Control-Allow-Headers"]
    assert "X-Request-ID" in allowed.headers
    assert denied.status_code == 400
    assert "Access-Control-Allow-Origin" not in denied.headers


async def test_a_page_of_another_origin_can_read_errors(page: httpx2.AsyncClient) -> None:
    key, large = {"X-API-Key": API_KEY}, b"x" * 70_000
    answers = {
        401: await page.post("/nothing"),  # and not 403, because its origin is configured
        404: await page.get("/nothing", headers=key),
        413: await page.post("/nothing", headers=key, content=large),
        431: await page.get(f"/{'a' * 20_000}"),
    }
    for status, answer in answers.items():
        check_problem(answer, status)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
