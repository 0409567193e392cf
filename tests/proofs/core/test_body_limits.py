"""Bodies that are too large, truncated or malformed are answered with a problem document."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from tests.problems import check_problem

from .failing_routes import LIMIT, PART, router


@pytest.fixture(scope="module")
def app(shared_app: FastAPI) -> FastAPI:
    shared_app.include_router(router)
    return shared_app


async def in_chunks(size: int, start: bytes = b"") -> AsyncIterator[bytes]:
    yield start.ljust(128, b"x")
    for _ in range(size // 128 - 1):
        yield b"x" * 128


@pytest.mark.parametrize("path", ["/bytes", "/bytes-in-a-dependency", "/files", "/form", "/items"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_large_body_is_413(client: httpx2.AsyncClient, path: str, chunked: bool) -> None:
    content_type = "application/json" if path == "/items" else "multipart/form-data; boundary=x"

    response = await client.post(
        path,
        content=in_chunks(2 * LIMIT, PART) if chunked else PART.ljust(LIMIT + 1),
        headers={"Content-Type": content_type},
    )

    assert str(LIMIT) in check_problem(response, 413)


async def test_unread_large_body_is_413_only_if_announced(client: httpx2.AsyncClient) -> None:
    chunked = await client.post("/nothing", content=in_chunks(2 * LIMIT))
    announced = await client.post("/nothing", content=b"x" * (LIMIT + 1))

    check_problem(chunked, 404)
    assert str(LIMIT) in check_problem(announced, 413)


# Starlette leaves the file of a truncated part to the garbage collector.
@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")
async def test_truncated_multipart_is_a_client_error(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    for body in (PART, PART + b"1,2", PART[:20], b"", b"--x--\r\n"):
        response = await client.post("/files", content=body, headers=headers)

        assert response.status_code in {400, 422}
        assert response.headers["Content-Type"] == "application/problem+json"


async def test_multipart_without_a_boundary_is_400(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data"}

    response = await client.post("/files", content=b"--x", headers=headers)

    check_problem(response, 400)


async def test_json_that_cannot_be_parsed_is_a_client_error(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}

    for body in (b"\xff\xfe\x00", b"[" * 60_000, b"[" * 30_000 + b"]" * 30_000, b"1" * 10_000):
        response = await client.post("/items", content=body, headers=headers)

        assert response.status_code in {400, 422}
        assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("chunked", [False, True])
async def test_missing_key_is_reported_before_the_body_limit(app: FastAPI, chunked: bool) -> None:
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as visitor:
        content = in_chunks(2 * LIMIT) if chunked else b"x" * 2 * LIMIT
        check_problem(await visitor.post("/bytes", content=content), 401)
