"""The tests reach the servers they start, whatever proxy the developer uses."""

from pathlib import Path

import pytest

from tests.server import ServerProcess

PLAIN = """
from starlette.responses import PlainTextResponse
app = PlainTextResponse("reached")
"""


def test_requests_to_a_test_server_bypass_the_developers_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain.py").write_text(PLAIN, encoding="utf-8")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with ServerProcess(tmp_path, "plain:app") as server:
        assert server.get("/").text == "reached"
