"""The headers that limit what a browser does with an answer."""

import re

import httpx2
import pytest
from fastapi import FastAPI, Response

from app.middleware import RequestMiddleware
from app.service import create_app

STRICT = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def check_headers(response: httpx2.Response) -> None:
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert response.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/health/live", "/nothing", "/docs", "/openapi.json", "/bug"])
async def test_every_answer_has_them(app: FastAPI, client: httpx2.AsyncClient, path: str) -> None:
    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError

    response = await client.get(path)

    check_headers(response)
    if path != "/docs":
        assert response.headers["Content-Security-Policy"] == STRICT
    assert "Strict-Transport-Security" not in response.headers


def visit(app: FastAPI, scheme: str = "http") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app)
    return httpx2.AsyncClient(transport=transport, base_url=f"{scheme}://test")


async def test_the_docs_may_load_what_they_load(client: httpx2.AsyncClient) -> None:
    response = await client.get("/docs")

    policy = response.headers["Content-Security-Policy"]
    hosts = set(re.findall(r'(?:src|href|url)[=:]\s*"(https://[^/]+)/', response.text))
    assert all(host in policy for host in hosts)
    assert "script-src 'unsafe-inline'" in policy


async def test_in_production_no_path_has_another_policy(
    production_env: pytest.MonkeyPatch,  # noqa: ARG001
) -> None:
    async with visit(create_app()) as visitor:
        response = await visitor.get("/docs")

    assert response.headers["Content-Security-Policy"] == STRICT


async def test_an_answer_may_have_a_policy_of_its_own(
    app: FastAPI, client: httpx2.AsyncClient
) -> None:
    @app.get("/own")
    async def own() -> Response:
        return Response("", headers={"Content-Security-Policy": "sandbox"})

    response = await client.get("/own")

    assert response.headers.get_list("Content-Security-Policy") == ["sandbox"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_answer_may_say_itself_how_long_it_is_kept(
    app: FastAPI, client: httpx2.AsyncClient
) -> None:
    @app.get("/own")
    async def own() -> Response:
        return Response("", headers={"Cache-Control": "max-age=60"})

    response = await client.get("/own")

    assert response.headers.get_list("Cache-Control") == ["max-age=60"]


async def test_behind_a_prefix_the_docs_have_their_policy(app: FastAPI) -> None:
    transport = httpx2.ASGITransport(app, root_path="/svc")
    async with httpx2.AsyncClient(transport=transport, base_url="http://test/svc/") as visitor:
        response = await visitor.get("docs")

    assert "cdn.jsdelivr.net" in response.headers["Content-Security-Policy"]
    assert "/svc/openapi.json" in response.text


async def test_what_is_no_http_passes() -> None:
    seen: list[object] = []

    async def application(*given: object) -> None:
        seen.extend(given)

    layer = RequestMiddleware(application, hsts=True, observers=[seen.append])
    await layer({"type": "lifespan"}, None, None)  # type: ignore[arg-type]

    assert seen == [{"type": "lifespan"}, None, None]
