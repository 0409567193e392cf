"""The worker as a process beside the service: killed, stopped, and woken by commits."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from app.db.backend import SCHEMES
from app.worker import main
from tests.conftest import API_KEY
from tests.databases.server import run
from tests.server import PythonProcess, ServerProcess

Start = Callable[..., PythonProcess]


@pytest.fixture
def work(tmp_path: Path, database_url: str) -> Start:
    def work(**variables: str) -> PythonProcess:
        variables = {**shared(database_url), "WORKER_PORT": "0", **variables}
        return PythonProcess(tmp_path, "tests.tasks.shop_process", **variables)

    return work


@pytest.fixture
def serve(tmp_path: Path, database_url: str) -> Start:
    def serve(**variables: str) -> PythonProcess:
        variables = {**shared(database_url), "TASKS_CLAIM": "none", **variables}
        return ServerProcess(tmp_path, "tests.tasks.shop_process:app", **variables)

    return serve


def shared(url: str) -> dict[str, str]:
    """Return the environment of both; a dead process is noticed after a second."""
    return {
        "ENVIRONMENT": "test",
        "DATABASE_URL": url,
        "TASKS_LEASE": "1",
        "TASKS_SWEEP_INTERVAL": "0.2",
    }


def rows(url: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in run(url, "SELECT name, state, attempts FROM background_tasks")]


def test_a_killed_worker_loses_no_task(serve: Start, work: Start, database_url: str) -> None:
    with serve() as server:
        with work(SHOP_HANGS="yes") as worker:
            server.post("/test-shop/1")
            worker.wait_for_line("shipping 1 begins")
            worker.kill()
            assert worker.wait_for_exit() == -signal.SIGKILL
        server.post("/test-shop/2")
        assert sorted(rows(database_url)) == [
            ("test_ship", "queued", 0),
            ("test_ship", "running", 1),
        ]
        with work() as worker:
            for _ in range(2):
                worker.wait_for_line("is done")
            worker.terminate()
            assert worker.wait_for_exit() == -signal.SIGTERM
    assert sorted(rows(database_url)) == [
        ("test_ship", "succeeded", 1),
        ("test_ship", "succeeded", 2),
    ]
    assert not any("shipping" in line for line in server.output)


def test_sigterm_fails_the_readiness_probe_and_requeues_running_tasks(
    serve: Start, work: Start, database_url: str
) -> None:
    with (
        serve() as server,
        work(SHOP_HANGS="yes", SHUTDOWN_DELAY="60", TASKS_DRAIN_TIMEOUT="0.1") as worker,
    ):
        assert worker.get("/health/ready").status_code == 200
        server.post("/test-shop/1")
        worker.wait_for_line("shipping 1 begins")
        worker.terminate()
        worker.wait_for_line("shutdown announced")
        assert worker.get("/health/ready").status_code == 503
        assert worker.get("/health/live").status_code == 200
        worker.interrupt()  # ends the delay
        worker.wait_for_line("were cancelled by the shutdown")
        assert worker.wait_for_exit() == 0
    assert rows(database_url) == [("test_ship", "queued", 0)]


async def test_the_worker_serves_no_page_of_the_service(
    settings_env: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_env.setenv("TASKS_CLAIM", "all")
    served: list[FastAPI] = []
    monkeypatch.setattr("uvicorn.run", lambda app, **_: served.append(app))
    main()
    transport = httpx2.ASGITransport(served[0])
    headers = {"X-API-Key": API_KEY}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        assert (await client.get("/health/live")).status_code == 200
        for path in ("/tasks", "/dashboard", "/reports", "/sign-in", "/metrics"):
            assert (await client.get(path)).status_code == 404, path


def test_an_unusable_port_ends_the_worker(work: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        with work(WORKER_PORT=taken) as first, work(WORKER_PORT="70000") as second:
            assert first.wait_for_exit() > 0
            assert second.wait_for_exit() > 0
    assert taken in "".join(first.output)
    assert "WORKER_PORT: " in "".join(second.output)


@pytest.mark.skipif("postgresql" not in SCHEMES, reason="a commit wakes no other process")
def test_the_worker_starts_committed_tasks_at_once(
    serve: Start, work: Start, database_url: str
) -> None:
    """Measured by the server's clock from INSERT to claim, while polls are a minute apart."""
    rare_polls = {"TASKS_LEASE": "240", "TASKS_SWEEP_INTERVAL": "60"}
    with serve(**rare_polls) as server, work(**rare_polls) as worker:
        assert worker.get("/health/ready").status_code == 200
        for n in range(30):
            server.post(f"/test-shop/{n}")
            worker.wait_for_line(f"shipping {n} is done")
    waits = run(database_url, "SELECT started_at - created_at FROM background_tasks")
    assert len(waits) == 30
    assert sorted(wait for (wait,) in waits)[28] < 1  # on an idle machine a hundredth of that
