"""Who does not read loses the connection, and holds up nothing."""

import asyncio
import socket
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.slow_readers import SlowReaders

from .server import SECONDS, ServerProcess

SERVICE = """
from starlette.applications import Starlette
from starlette.responses import FileResponse, StreamingResponse
from starlette.routing import Route
from app.slow_readers import SlowReaders

async def parts():
    while True:
        yield b"x" * 1_000_000

async def stream(_):
    return StreamingResponse(parts())

async def download(_):
    return FileResponse("large")

routes = [Route("/stream", stream), Route("/download", download)]
app = SlowReaders(Starlette(routes=routes), 0.5)
"""


@pytest.mark.parametrize("path", ["/stream", "/download"])
def test_who_does_not_read_loses_the_connection(tmp_path: Path, path: str) -> None:
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(100_000_000)
    with ServerProcess(tmp_path, "service:app") as server:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        with socket.create_connection(address, timeout=SECONDS) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            server.wait_for_line("a slow reader lost its connection")
            server.terminate()
            server.wait_for_exit()  # the server would wait for a connection that is still open

    assert "Traceback" not in "".join(server.output)
    assert "without completing" not in "".join(server.output)


def test_who_reads_gets_everything(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    (tmp_path / "large").write_bytes(b"x" * 1_000_000)
    with ServerProcess(tmp_path, "service:app") as server:
        response = server.get("/download")

    assert len(response.content) == 1_000_000


async def test_on_another_server_the_exception_tells() -> None:
    sent: list[str] = []

    async def send(message: Message) -> None:
        if message.get("more_body"):
            await asyncio.Event().wait()
        sent.append(message["type"])

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        sent.append("never")

    async with asyncio.timeout(5):
        await SlowReaders(app, 0.01)({"type": "http", "path": "/"}, None, send)  # type: ignore[arg-type]

    assert sent == ["http.response.start"]
