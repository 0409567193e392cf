"""The task page while PostgreSQL is frozen, so that its own timeouts cannot help."""

from pathlib import Path

import httpx2

from db.test_postgresql import cluster, database_server, frozen
from tests.databases.cluster import Cluster
from tests.server import ServerProcess
from waiting import wait_until

__all__ = ["cluster", "database_server"]

KEY = "test-key"
SECONDS = 5
"""An answer takes one second; a busy machine may need more."""


def test_page_is_answered_in_time_while_the_server_is_frozen(
    tmp_path: Path, cluster: Cluster, database_url: str
) -> None:
    variables = {"API_KEYS": KEY, "DATABASE_URL": database_url, "TASKS_DRAIN_TIMEOUT": "0"}
    with (
        ServerProcess(tmp_path, **variables) as server,
        httpx2.Client(base_url=server.url, timeout=SECONDS) as browser,
        httpx2.Client(base_url=server.url, timeout=SECONDS, headers={"X-API-Key": KEY}) as program,
    ):
        browser.post("/sign-in", data={"key": KEY})
        assert browser.get("/dashboard").status_code == 200
        with frozen(cluster):
            # The previous answer is reused for a second.
            wait_until(lambda: program.get("/health/ready").status_code == 503)
            page = program.get("/dashboard")
            cancelled = program.post("/dashboard/cancel", data={"task": "x"})
            refused = browser.get("/dashboard")
        assert "The database does not answer." in page.text
        assert "No task is running or waiting." in page.text
        assert cancelled.json()["detail"] == "the database does not answer"
        # Nothing can say whether the session was ended.
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        wait_until(lambda: browser.get("/dashboard").status_code == 200)
