"""The head of a request: what is too large or takes too long to parse, and HEAD."""

from collections.abc import AsyncIterator
from time import process_time

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

SECONDS = 0.05
"""Processor time that an answer to a stranger may cost; measured: below 0.002."""


STRANGERS = [("GET", "/health/live"), ("POST", "/sign-in"), ("GET", "/static/pages/pages.css")]


@pytest.fixture
async def visitor(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client that knows no key."""
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://test"
    ) as visitor:
        for method, path in STRANGERS:  # what is made once is made now
            await visitor.request(method, path)
        yield visitor


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Cookie", b'session="' + b"\\0" * 50_000 + b'"'),
        ("Cookie", b'session="' + b"\\0" * 7_000 + b'"'),
        ("X-Anything", b"a" * 100_000),
    ],
)
@pytest.mark.parametrize("path", ["/health/live", "/sign-in", "/nowhere"])
async def test_a_head_that_is_too_large(
    visitor: httpx2.AsyncClient, path: str, name: str, value: bytes
) -> None:
    start = process_time()
    response = await visitor.get(path, headers=[(name.encode(), value)])

    assert process_time() - start < SECONDS
    assert response.status_code == 431
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/health/live?" + "a=1&" * 5_000, "/" + "a/" * 10_000])
async def test_an_address_that_is_too_long(visitor: httpx2.AsyncClient, path: str) -> None:
    assert (await visitor.get(path)).status_code == 431


ALMOST = 15_000
"""Bytes of a header that are let in."""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Accept", b'text"' + b'\\"' * (ALMOST // 2)),
        ("Accept", b"text/html;q=" * (ALMOST // 12)),
        ("Cookie", b"a=b;" * (ALMOST // 4)),
        ("Cookie", b'session="' + b"\\0" * 60 + b"a" * (ALMOST - 200) + b'"'),
        ("Cookie", b"session=" + b"." * ALMOST),
        ("Authorization", b"Bearer " + b" " * ALMOST),
        ("X-API-Key", b"k" * ALMOST),
        ("Content-Type", b"multipart/form-data;" + b'";' * (ALMOST // 2)),
        ("Content-Type", b"multipart/form-data;" + b'a="\\"' * (ALMOST // 5)),
        ("Content-Length", b"9" * ALMOST),
        ("X-Request-ID", b"a" * ALMOST),
        ("X-Forwarded-For", b"1," * (ALMOST // 2)),
        ("Host", b"[" * ALMOST),
        ("Origin", b"http://[" * (ALMOST // 8)),
        ("Range", b"bytes=" + b"0-0," * (ALMOST // 4)),
        ("Range", b"bytes=" + b"0" * ALMOST),
        ("If-None-Match", b'"a",' * (ALMOST // 4)),
        ("If-Modified-Since", b"Mon, " * (ALMOST // 5)),
        ("If-Range", b"(" * ALMOST),
        ("traceparent", b"00-" * (ALMOST // 3)),
        ("tracestate", b"a=1," * (ALMOST // 4)),
        ("baggage", b"a=1," * (ALMOST // 4)),
    ],
)
@pytest.mark.parametrize(("method", "path"), STRANGERS)
async def test_a_stranger_costs_next_to_nothing(
    visitor: httpx2.AsyncClient, method: str, path: str, name: str, value: bytes
) -> None:
    start = process_time()
    await visitor.request(method, path, headers=[(name.encode(), value)])

    assert process_time() - start < SECONDS


async def test_head_is_answered_like_get(client: httpx2.AsyncClient) -> None:
    for path in ("/health/ready", "/health/live", "/tasks", "/docs"):
        answer, full = await client.head(path), await client.get(path)

        assert answer.status_code == full.status_code == 200, path
        assert answer.content == b""
        assert answer.headers["Content-Type"] == full.headers["Content-Type"]
    assert (await client.head("/nowhere")).status_code == 404


async def test_head_of_a_stream(app: FastAPI, client: httpx2.AsyncClient) -> None:
    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]))

    response = await client.head("/stream")

    assert (response.status_code, response.content) == (200, b"")
