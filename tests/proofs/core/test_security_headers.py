"""The headers that limit what a browser does with an answer."""

import re

import httpx2
from fastapi import FastAPI, Response

STRICT = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


async def test_content_security_policy_is_strict_by_default(client: httpx2.AsyncClient) -> None:
    for path in ("/health/live", "/nothing", "/openapi.json"):
        assert (await client.get(path)).headers["Content-Security-Policy"] == STRICT


async def test_pages_of_other_sites_are_kept_apart(client: httpx2.AsyncClient) -> None:
    for path in ("/health/live", "/nothing", "/docs"):
        headers = (await client.get(path)).headers
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_docs_policy_allows_the_hosts_the_docs_load_from(client: httpx2.AsyncClient) -> None:
    response = await client.get("/docs")

    policy = response.headers["Content-Security-Policy"]
    hosts = set(re.findall(r'(?:src|href|url)[=:]\s*"(https://[^/]+)/', response.text))
    assert all(host in policy for host in hosts)
    assert "script-src 'unsafe-inline'" in policy


async def test_security_headers_set_by_a_route_are_kept(
    app: FastAPI, client: httpx2.AsyncClient
) -> None:
    own = {"Content-Security-Policy": "sandbox", "Cache-Control": "max-age=60"}
    app.add_api_route("/own", lambda: Response("", headers=own))

    response = await client.get("/own")

    assert [response.headers.get_list(name) for name in own] == [["sandbox"], ["max-age=60"]]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_docs_keep_their_policy_under_a_root_path(app: FastAPI) -> None:
    transport = httpx2.ASGITransport(app, root_path="/svc")
    async with httpx2.AsyncClient(transport=transport, base_url="http://test/svc/") as visitor:
        response = await visitor.get("docs")

    assert "cdn.jsdelivr.net" in response.headers["Content-Security-Policy"]
    assert "/svc/openapi.json" in response.text
