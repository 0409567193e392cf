"""The task page while PostgreSQL is frozen, and no timeout of the server ends what hangs."""

from pathlib import Path

import httpx2

from db.test_postgresql import cluster, database_server, frozen
from tests.databases.cluster import Cluster
from tests.server import ServerProcess
from waiting import wait_until

__all__ = ["cluster", "database_server"]

KEY = "test-key"
SECONDS = 5
"""An answer takes one of them; a busy machine may need the rest."""


def test_a_server_that_hangs_holds_up_no_page(
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
            # The answer from before is given for a second.
            wait_until(lambda: program.get("/health/ready").status_code == 503)
            page = program.get("/dashboard")
            pressed = program.post("/dashboard/cancel", data={"task": "x"})
            refused = browser.get("/dashboard")
        assert "The database does not answer." in page.text
        assert "No task is running or waiting." in page.text
        assert pressed.json()["detail"] == "the database does not answer"
        # Whether the session was ended can be asked of nobody.
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        wait_until(lambda: browser.get("/dashboard").status_code == 200)
