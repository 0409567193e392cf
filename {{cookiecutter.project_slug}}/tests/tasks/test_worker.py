"""The worker: a process beside the service, which runs durable tasks and serves no requests."""

import signal
from pathlib import Path

import pytest

from app.main import create_app
from app.settings import ConfigurationError
from app.worker import main
from tests.server import PythonProcess, ServerProcess


def test_it_runs_the_durable_tasks_that_the_service_leaves_to_it(
    tmp_path: Path, database_url: str
) -> None:
    shared = {"ENVIRONMENT": "test", "DATABASE_URL": database_url, "TASKS_SWEEP_INTERVAL": "0.2"}
    of_worker = {"WORKER_PORT": "0", "WEB_CONCURRENCY": "2"}  # the second is for the service
    target = "tests.tasks.shop_server:app"
    with (
        ServerProcess(tmp_path, target, TASKS_CLAIM="none", **shared) as server,
        PythonProcess(tmp_path, "tests.tasks.shop_worker", **of_worker, **shared) as worker,
    ):
        assert worker.get("/health/ready").status_code == 200
        assert worker.post("/test-shop/1").status_code == 404
        assert server.post("/test-shop/1").status_code == 202
        worker.wait_for_line("shipping 1 is done")
        server.wait_for_line("packing 1 is done")
        for process in (server, worker):
            process.terminate()
            assert process.wait_for_exit() == -signal.SIGTERM
    assert not any("shipping" in line for line in server.output)
    assert not any("packing" in line for line in worker.output)
    assert any("no API_KEYS" in line for line in server.output)
    assert not any("no API_KEYS" in line or "each process" in line for line in worker.output)
    assert not any(line.startswith("INFO:") for line in worker.output)  # the server's own format


def test_a_task_that_does_not_exist_cannot_be_claimed(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("TASKS_CLAIM", "send_email, invoice")
    with pytest.raises(ConfigurationError, match="no durable task called invoice"):
        create_app()


def test_a_worker_that_claims_nothing_does_not_start(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("TASKS_CLAIM", "none")
    with pytest.raises(ConfigurationError, match="TASKS_CLAIM: a worker needs"):
        main()
