"""The tests reach the servers they start, whatever proxy the developer uses."""

from pathlib import Path

import pytest

from tests.server import ServerProcess


def test_requests_to_a_test_server_bypass_the_developers_proxy(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with ServerProcess(tmp_path, ENVIRONMENT="test", DATABASE_URL=database_url) as server:
        assert server.get("/health/live").status_code == 200
