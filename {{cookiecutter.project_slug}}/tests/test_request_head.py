"""The head of a request: what is too large or takes too long to parse, and HEAD."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from .worst_headers import WORST_HEADERS, is_cheap


@pytest.fixture
async def visitor(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client that knows no key."""
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://test"
    ) as visitor:
        await visitor.get("/health/live")  # what is made once is made now
        yield visitor


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Cookie", b'session="' + b"\\0" * 50_000 + b'"'),
        ("Cookie", b'session="' + b"\\0" * 7_000 + b'"'),
        ("X-Anything", b"a" * 100_000),
    ],
)
@pytest.mark.parametrize("path", ["/health/live", "/nowhere"])
async def test_a_head_that_is_too_large(
    visitor: httpx2.AsyncClient, path: str, name: str, value: bytes
) -> None:
    response = await visitor.get(path, headers=[(name.encode(), value)])

    assert await is_cheap(visitor, "GET", path, name, value)
    assert response.status_code == 431
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/health/live?" + "a=1&" * 5_000, "/" + "a/" * 10_000])
async def test_an_address_that_is_too_long(visitor: httpx2.AsyncClient, path: str) -> None:
    assert (await visitor.get(path)).status_code == 431


@pytest.mark.parametrize("path", ["/health/live", "/nowhere"])
@pytest.mark.parametrize(("name", "value"), WORST_HEADERS)
async def test_no_header_takes_long_to_parse(
    visitor: httpx2.AsyncClient, path: str, name: str, value: bytes
) -> None:
    assert await is_cheap(visitor, "GET", path, name, value)


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
