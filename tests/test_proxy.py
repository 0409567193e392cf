"""Ring 3: the proxy of compose.yaml sets limits that the real service behind it lacks."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from service import Service, free_port, wait_for

from tests.conftest import Make
from tests.interpreters import NEWEST
from tests.options import DEFAULTS, title

resource = pytest.importorskip("resource", reason="not on Windows")

pytestmark = [
    pytest.mark.generated,
    pytest.mark.xdist_group(f"{title(DEFAULTS)}-{NEWEST}"),
    pytest.mark.skipif(shutil.which("caddy") is None, reason="needs caddy: apt install caddy"),
]

IDLE = 1000
SECONDS = 30.0
"""The longest wait for any event."""


@pytest.fixture(scope="module")
def proxy(install: Make, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the proxy, with the configuration of compose.yaml and a shorter timeout."""
    project = install(NEWEST, **DEFAULTS)
    compose = yaml.safe_load((project / "compose.yaml").read_text(encoding="utf-8"))
    port = free_port()
    with Service(project) as service:
        config = compose["configs"]["proxy"]["content"]
        for before, after in {
            "service:8000": f"127.0.0.1:{service.port}",
            ":8000": f":{port}",
            "read_header 10s": "read_header 2s",
        }.items():
            assert config.count(before) == 1
            config = config.replace(before, after)
        with run_caddy(config, tmp_path_factory.mktemp("proxy")):
            assert wait_for(lambda: answer(port, b"") or None, SECONDS)
            yield port


def run_caddy(config: str, folder: Path) -> ExitStack:
    """Start caddy; closing the stack stops it."""
    file = folder / "Caddyfile"
    file.write_text(config, encoding="utf-8")
    home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]
    stack = ExitStack()
    process = stack.enter_context(subprocess.Popen(command, env={**os.environ, **home}))
    stack.callback(process.terminate)
    return stack


def answer(port: int, header: bytes, path: bytes = b"/health/ready") -> bytes:
    """Return the first line of a response, b"" if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
            head = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" % path
            connection.sendall(head + header + b"\r\n")
            return connection.recv(1000).partition(b"\r\n")[0]
    except OSError:
        return b""


def test_a_large_header_is_refused(proxy: int) -> None:
    assert re.search(rb" 431 ", answer(proxy, b"X-Large: " + b"a" * 100_000 + b"\r\n"))


def test_a_request_through_the_proxy_is_not_local(proxy: int) -> None:
    assert b" 403 " in answer(proxy, b"", b"/docs")


def test_idle_connections_do_not_keep_others_out_and_are_closed(proxy: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * IDLE)), hard))
    with ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", proxy), timeout=SECONDS))
            for _ in range(IDLE)
        ]
        idle[0].sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert b" 200 " in answer(proxy, b"")
        assert [connection.recv(1000) for connection in idle[1:]] == [b""] * (IDLE - 1)
        assert idle[0].recv(1000).partition(b"\r\n")[0] in {b"", b"HTTP/1.1 408 Request Timeout"}
