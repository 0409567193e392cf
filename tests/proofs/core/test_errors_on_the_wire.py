"""Error answers, byte by byte, over a real socket."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.python_path import PYTHONPATH
from tests.databases.server import DatabaseServer
from tests.server import ServerProcess

from .failing_routes import LIMIT, PART, SERVICE
from .wire import exchange


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, database_server: DatabaseServer
) -> Iterator[ServerProcess]:
    """Serve the failing routes in a process of their own."""
    folder: Path = tmp_path_factory.mktemp("server")
    (folder / "service.py").write_text(SERVICE, encoding="utf-8")
    with (
        database_server.database(migrated=True) as url,
        ServerProcess(folder, "service:app", DATABASE_URL=url, PYTHONPATH=PYTHONPATH) as server,
    ):
        yield server


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", "")
    return "\r\n".join(lines).encode()


FORM = "Content-Type: multipart/form-data; boundary=x"
CHUNK = b"%x\r\n" % (LIMIT // 2) + b"x" * (LIMIT // 2) + b"\r\n"
TOO_LARGE = f"Content-Length: {LIMIT + 1}"


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        ([head("/bytes", TOO_LARGE), b"x" * LIMIT, b"x"], 413),
        ([head("/bytes", TOO_LARGE)], 413),
        ([head("/nothing", TOO_LARGE), b"x" * LIMIT, b"x"], 413),
        ([head("/unread", TOO_LARGE)], 413),
        ([head("/bytes", "Transfer-Encoding: chunked"), *[CHUNK] * 5, b"0\r\n\r\n"], 413),
        ([head("/bytes", "Transfer-Encoding: chunked"), CHUNK, CHUNK, CHUNK], 413),
        ([head("/nothing", "Transfer-Encoding: chunked"), *[CHUNK] * 5, b"0\r\n\r\n"], 404),
        ([head("/errors/bug", method="GET")], 500),
        ([head("/items", method="PUT")], 405),
    ],
)
def test_problem_documents_arrive_complete(
    server: ServerProcess, chunks: list[bytes], status: int
) -> None:
    answer, _, body = exchange(server, *chunks).partition(b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/problem+json" in answer
    assert f"content-length: {len(body)}".encode() in answer
    problem = json.loads(body)
    assert problem["status"] == status
    assert f"x-request-id: {problem['request_id']}".encode() in answer


@pytest.mark.parametrize("status", [204, 304])
def test_204_and_304_have_no_body_on_the_wire(server: ServerProcess, status: int) -> None:
    answer, _, body = exchange(server, head(f"/status/{status}", method="GET")).partition(
        b"\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert body == b""


def test_server_survives_broken_requests_without_a_traceback(server: ServerProcess) -> None:
    line_count = len(server.output)
    exchange(server, head("/bytes", "Content-Length: 900"), b"x" * 10, half_close=True)
    exchange(server, head("/items", "Content-Length: 900"), b"x" * 10, half_close=True)
    exchange(server, head("/form", "Content-Length: 900", FORM), PART, half_close=True)
    exchange(server, head("/bytes", "Content-Length: nonsense"))
    exchange(server, b"\x16\x03\x01 this is TLS\r\n\r\n")

    assert server.get("/nowhere").status_code == 404
    server.wait_for_line("/nowhere")
    assert "Traceback" not in "".join(server.output[line_count:])
