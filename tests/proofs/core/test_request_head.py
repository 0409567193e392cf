"""The head of a request: its size limit and the time it takes to parse."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from worst_headers import WORST_HEADERS, is_cheap


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


@pytest.fixture
async def visitor(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client without an API key."""
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://test"
    ) as visitor:
        await visitor.get("/health/live")  # the first request builds what later ones reuse
        yield visitor


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Cookie", b'session="' + b"\\0" * 50_000 + b'"'),
        ("Cookie", b'session="' + b"\\0" * 7_000 + b'"'),
        ("Content-Type", b'multipart/form-data; x="' + b";" * 15_000),
        ("Content-Type", b"multipart/form-data; boundary=x; charset=" + b"a" * 7_000),
        ("X-Anything", b"a" * 100_000),
    ],
)
@pytest.mark.parametrize("path", ["/health/live", "/nowhere"])
async def test_too_large_request_head_is_431(
    visitor: httpx2.AsyncClient, path: str, name: str, value: bytes
) -> None:
    response = await visitor.get(path, headers=[(name.encode(), value)])

    assert await is_cheap(visitor, "GET", path, name, value)
    assert response.status_code == 431
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/health/live", "/nowhere"])
async def test_no_header_takes_long_to_parse(visitor: httpx2.AsyncClient, path: str) -> None:
    for header in WORST_HEADERS:
        assert await is_cheap(visitor, "GET", path, *header), header


@pytest.mark.parametrize(("path", "status"), [("/a" * 100, 401), ("/a" * 101, 431)])
async def test_path_with_very_many_parts_is_431(
    visitor: httpx2.AsyncClient, path: str, status: int
) -> None:
    assert (await visitor.get(path)).status_code == status
