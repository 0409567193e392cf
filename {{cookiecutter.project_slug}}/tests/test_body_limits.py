"""Bodies that are too large, cut off or not what they say: the answer is a problem document."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI, Request
from starlette.types import Message, Receive, Scope, Send

from app.errors import BodyLimitProblem

from .problems import LIMIT, PART, check_problem, router


@pytest.fixture
async def app(app: FastAPI) -> FastAPI:
    app.include_router(router)
    return app


async def in_chunks(size: int, start: bytes = b"") -> AsyncIterator[bytes]:
    yield start.ljust(128, b"x")
    for _ in range(size // 128 - 1):
        yield b"x" * 128


@pytest.mark.parametrize("path", ["/bytes", "/bytes-in-a-dependency", "/files", "/form", "/items"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit(client: httpx2.AsyncClient, path: str, chunked: bool) -> None:
    kind = "application/json" if path == "/items" else "multipart/form-data; boundary=x"

    response = await client.post(
        path,
        content=in_chunks(2 * LIMIT, PART) if chunked else PART.ljust(LIMIT + 1),
        headers={"Content-Type": kind},
    )

    assert str(LIMIT) in check_problem(response, 413)


async def test_a_body_of_the_limit_is_fine(client: httpx2.AsyncClient) -> None:
    for content in (b"x" * LIMIT, in_chunks(LIMIT)):
        response = await client.post("/bytes", content=content)

        assert response.json() == LIMIT


async def test_a_large_body_that_nobody_reads(client: httpx2.AsyncClient) -> None:
    unknown = await client.post("/nothing", content=in_chunks(2 * LIMIT))
    announced = await client.post("/nothing", content=b"x" * (LIMIT + 1))

    check_problem(unknown, 404)
    assert str(LIMIT) in check_problem(announced, 413)


# Starlette leaves the file of such a part to the garbage collector.
@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")
async def test_truncated_multipart(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    for body in (PART, PART + b"1,2", PART[:20], b"", b"--x--\r\n"):
        response = await client.post("/files", content=body, headers=headers)

        assert response.status_code in {400, 422}
        assert response.headers["Content-Type"] == "application/problem+json"


async def test_only_the_answer_of_the_server_is_replaced() -> None:
    """A too large body is known from its header; the application may say something else of it."""
    sent: list[Message] = []

    async def application(_: Scope, __: Receive, send: Send) -> None:
        for type_ in ("http.response.start", "http.response.body"):
            await send({"type": type_, "status": 401, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 11}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"content-length", b"%d" % (LIMIT + 1))]}
    await BodyLimitProblem(application)(scope, receive, send)

    assert [message["status"] for message in sent] == [401, 401]


async def test_multipart_without_a_boundary(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data"}

    response = await client.post("/files", content=b"--x", headers=headers)

    check_problem(response, 400)


@pytest.mark.parametrize(("part", "limit"), [('name="f{}"', 100), ('name="f{}"; filename="a"', 10)])
async def test_a_form_of_too_many_parts(client: httpx2.AsyncClient, part: str, limit: int) -> None:
    part = f"--x\r\nContent-Disposition: form-data; {part}\r\n\r\n1\r\n"
    body = "".join(part.format(number) for number in range(limit + 1)) + "--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    response = await client.post("/files", content=body.encode(), headers=headers)

    assert str(limit) in check_problem(response, 400)


async def test_deep_json(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}

    for body in (b"[" * 60_000, b"[" * 30_000 + b"]" * 30_000, b"1" * 10_000):
        response = await client.post("/items", content=body, headers=headers)

        assert response.status_code in {400, 422}
        assert response.headers["Content-Type"] == "application/problem+json"


async def test_a_route_may_have_limits_of_its_own(app: FastAPI, client: httpx2.AsyncClient) -> None:
    @app.post("/large", max_body_size=2 * LIMIT)
    async def count(request: Request) -> int:
        return len(await request.body())

    small, large = [
        await client.post("/large", content=b"x" * size) for size in (2 * LIMIT, 2 * LIMIT + 1)
    ]

    assert small.json() == 2 * LIMIT
    assert str(2 * LIMIT) in check_problem(large, 413)


@pytest.mark.parametrize("chunked", [False, True])
async def test_who_has_no_key_is_told_that_first(app: FastAPI, chunked: bool) -> None:
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as visitor:
        content = in_chunks(2 * LIMIT) if chunked else b"x" * 2 * LIMIT
        check_problem(await visitor.post("/bytes", content=content), 401)
