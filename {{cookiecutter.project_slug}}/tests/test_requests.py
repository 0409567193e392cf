"""Requests before any route: their id, a head that is too large, HEAD, and readers that stall."""

import asyncio
import re

import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from app.slow_readers import SlowReaders

from .problems import check_problem


@pytest.mark.parametrize("path", ["/nothing", "/health/live"])
async def test_every_answer_has_the_request_id(client: httpx2.AsyncClient, path: str) -> None:
    for method in ("GET", "PUT", "BREW"):
        response = await client.request(method, path, headers={"X-Request-ID": "mine"})

        assert response.headers.get_list("X-Request-ID") == ["mine"]


async def test_a_bad_request_id_is_replaced(client: httpx2.AsyncClient) -> None:
    for given in (b"", b"x" * 65, b"a b", b"a\nb", b"a\r\nX-Evil: 1", b"abc\n", b"<b>", b"\xff"):
        response = await client.get("/nothing", headers=[(b"X-Request-ID", given)])

        assert re.fullmatch("[0-9a-f]{32}", response.json()["request_id"]), given
        assert response.headers["X-Request-ID"] == response.json()["request_id"]
        assert "X-Evil" not in response.headers


async def test_a_head_over_16_kib_is_refused(client: httpx2.AsyncClient) -> None:
    for path in (f"/?{'a=1&' * 5_000}", f"/health/live?{'a&' * 1_000}", f"/{'a/' * 10_000}"):
        check_problem(await client.get(path), 431)


async def test_head_is_answered_like_get(client: httpx2.AsyncClient) -> None:
    for path in ("/health/ready", "/health/live", "/tasks", "/docs"):
        answer, full = await client.head(path), await client.get(path)

        assert answer.status_code == full.status_code == 200, path
        assert answer.content == b""
        assert answer.headers["Content-Type"] == full.headers["Content-Type"]
    assert (await client.head("/nowhere")).status_code == 404


async def test_a_streamed_answer_that_is_not_read_is_given_up() -> None:
    sent: list[str] = []

    async def send(message: Message) -> None:
        if message.get("more_body"):
            await asyncio.Event().wait()
        sent.append(message["type"])

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        sent.append("never")

    async def receive() -> Message:
        raise AssertionError

    async with asyncio.timeout(5):
        await SlowReaders(app, 0.01)({"type": "http", "path": "/"}, receive, send)

    assert sent == ["http.response.start"]


async def test_every_answer_has_the_security_headers(
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
