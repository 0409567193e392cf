"""The worker: a process that runs durable tasks, and serves only health routes."""

import asyncio
import signal
from pathlib import Path

import httpx2
import pytest

from app.service import create_app
from app.settings import ConfigurationError
from app.worker import main
from tests.server import PythonProcess

from .shop import happened
from .watcher import Watcher


@pytest.fixture
def settings_env(settings_env: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    settings_env.setenv("TASKS_CLAIM", "none")
    return settings_env


async def test_a_worker_runs_the_durable_tasks_that_the_service_does_not_claim(
    tmp_path: Path, database_url: str, client: httpx2.AsyncClient, watcher: Watcher
) -> None:
    shared = {"ENVIRONMENT": "test", "DATABASE_URL": database_url, "TASKS_SWEEP_INTERVAL": "0.2"}
    worker_only = {"WORKER_PORT": "0", "WEB_CONCURRENCY": "2"}  # a worker ignores the second
    module = "tests.tasks.shop_process"
    with PythonProcess(tmp_path, module, **worker_only, **shared) as worker:
        assert worker.get("/health/ready").status_code == 200
        assert worker.post("/test-shop/1").status_code == 404
        assert (await client.post("/test-shop/1")).status_code == 202
        await watcher.until("succeeded")
        await asyncio.to_thread(worker.wait_for_line, "shipping 1 is done")
        worker.terminate()
        assert await asyncio.to_thread(worker.wait_for_exit) == -signal.SIGTERM
    assert happened == ["commit", "packing 1 begins", "packing 1 is done"]
    assert not any("packing" in line for line in worker.output)
    assert not any("no API_KEYS" in line or "each process" in line for line in worker.output)
    assert not any(line.startswith("INFO:") for line in worker.output)  # the server's own format


def test_claiming_an_unknown_task_prevents_the_start(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("TASKS_CLAIM", "send_email, invoice")
    with pytest.raises(ConfigurationError, match="no durable task called invoice"):
        create_app()


@pytest.mark.usefixtures("settings_env")
def test_a_worker_that_claims_nothing_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="TASKS_CLAIM: a worker needs"):
        main()
