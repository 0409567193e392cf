"""The headers that limit what a browser does with an answer."""

import re

import httpx2
from fastapi import FastAPI, Response

STRICT = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


async def test_the_policy_is_strict(client: httpx2.AsyncClient) -> None:
    for path in ("/health/live", "/nothing", "/openapi.json"):
        assert (await client.get(path)).headers["Content-Security-Policy"] == STRICT


async def test_the_docs_may_load_what_they_load(client: httpx2.AsyncClient) -> None:
    response = await client.get("/docs")

    policy = response.headers["Content-Security-Policy"]
    hosts = set(re.findall(r'(?:src|href|url)[=:]\s*"(https://[^/]+)/', response.text))
    assert all(host in policy for host in hosts)
    assert "script-src 'unsafe-inline'" in policy


async def test_an_answer_may_have_headers_of_its_own(
    app: FastAPI, client: httpx2.AsyncClient
) -> None:
    own = {"Content-Security-Policy": "sandbox", "Cache-Control": "max-age=60"}
    app.add_api_route("/own", lambda: Response("", headers=own))

    response = await client.get("/own")

    assert [response.headers.get_list(name) for name in own] == [["sandbox"], ["max-age=60"]]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_behind_a_prefix_the_docs_have_their_policy(app: FastAPI) -> None:
    transport = httpx2.ASGITransport(app, root_path="/svc")
    async with httpx2.AsyncClient(transport=transport, base_url="http://test/svc/") as visitor:
        response = await visitor.get("docs")

    assert "cdn.jsdelivr.net" in response.headers["Content-Security-Policy"]
    assert "/svc/openapi.json" in response.text
