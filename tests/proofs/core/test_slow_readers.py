"""Who does not read loses the connection, and holds up nothing."""

import socket
from pathlib import Path

import pytest

from tests.server import SECONDS, ServerProcess

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
