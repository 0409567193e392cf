"""The tests reach what they start, whatever proxy a developer has."""

from pathlib import Path

import pytest

from tests.server import ServerProcess


def test_no_proxy_stands_between_a_test_and_its_server(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with ServerProcess(tmp_path, ENVIRONMENT="test", DATABASE_URL=database_url) as server:
        assert server.get("/health/live").status_code == 200
