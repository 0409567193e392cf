"""The task: the report shows how its run ended, whatever went wrong."""

import asyncio
import contextlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import app
from app.db import task_session
from app.features.reports.settings import ReportSettings
from app.features.reports.tasks import (
    ABANDONED,
    ERRORS,
    process_report,
    report_failed,
)
from app.mail import EmailMessage
from app.service import create_app
from app.tasks import FailedTask, TaskRunner, TaskState
from tests.features.reports.conftest import UPLOADS, Analysis, Finish, Upload, files


def test_startup_does_not_import_heavy_libraries(
    settings_env: pytest.MonkeyPatch,  # noqa: ARG001 - the process inherits it
) -> None:
    command = [sys.executable, "-c", "import sys, app.main; print(*sys.modules)"]
    project = Path(app.__file__ or "").parents[1]
    printed = subprocess.check_output(command, cwd=project, text=True)  # noqa: S603 - our own code

    assert not {"duckdb", "alembic", "jinja2"} & set(printed.split())


LOCKED = OperationalError("UPDATE", {}, Exception("the database is locked"))


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Make the first commit of a finished report fail."""
    failures = [OperationalError("COMMIT", {}, Exception("database or disk is full"))]

    def fail(session: Session) -> None:
        if failures and any(getattr(row, "finished_at", None) for row in session.dirty):
            raise failures.pop()

    event.listen(Session, "before_commit", fail)
    yield
    event.remove(Session, "before_commit", fail)
    assert failures == []


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("error", [None, RuntimeError("a bug")])
async def test_report_ends_although_its_first_commit_fails(
    analyse: Analysis, upload: Upload, finish: Finish, error: Exception | None
) -> None:
    analyse.errors = [] if error is None else [error]

    report = await finish(await upload())

    assert report["status"] == ("failed" if error else "done")
    assert analyse.files == ([1] if error else [1, 1])
    assert len(files()) == (1 if error else 0)


async def test_report_is_retried_while_the_database_is_locked(
    analyse: Analysis, upload: Upload, finish: Finish, outbox: list[EmailMessage]
) -> None:
    analyse.errors = [LOCKED, LOCKED]

    report = await finish(await upload())

    assert (report["status"], report["error"]) == ("done", None)
    assert analyse.calls == 3
    assert len(outbox) == 1
    assert files() == []


async def test_report_fails_when_the_database_stays_locked(
    analyse: Analysis, upload: Upload, finish: Finish
) -> None:
    analyse.errors = [LOCKED] * 6

    report = await finish(await upload())

    assert (report["status"], report["error"]) == ("failed", ERRORS[TaskState.FAILED])
    assert analyse.calls == 6
    assert len(files()) == 1


async def test_report_fails_at_its_timeout(
    monkeypatch: pytest.MonkeyPatch,
    runner: TaskRunner,
    analyse: Analysis,
    upload: Upload,
    finish: Finish,
) -> None:
    (task,) = (candidate for candidate in runner.tasks if candidate.name == process_report.name)
    monkeypatch.setattr(task, "timeout", 0.3)
    analyse.gate.clear()

    report = await finish(await upload())

    assert (report["status"], report["error"]) == ("failed", "it took longer than 300 seconds")
    assert len(files()) == 1


async def test_report_of_a_cancelled_task_has_failed(
    analyse: Analysis,
    client: httpx2.AsyncClient,
    upload: Upload,
    finish: Finish,
    outbox: list[EmailMessage],
) -> None:
    analyse.gate.clear()
    running, waiting = await upload(), [await upload(), await upload()][1]  # two may run
    async with asyncio.timeout(5):
        await analyse.called.wait()
    for accepted in (running, waiting):
        assert (await client.post(f"/tasks/{accepted.json()['task_id']}/cancel")).is_success
    analyse.gate.set()

    for accepted in (running, waiting):
        report = await finish(accepted)
        assert (report["status"], report["error"]) == ("failed", ABANDONED)
    assert [ABANDONED in mail.text for mail in outbox].count(True) == 2
    assert len(files()) == 2


@pytest.mark.parametrize("state", [TaskState.DEAD, TaskState.TIMED_OUT, TaskState.FAILED])
async def test_late_run_does_not_change_a_failed_report(
    analyse: Analysis,
    upload: Upload,
    finish: Finish,
    runner: TaskRunner,
    client: httpx2.AsyncClient,
    outbox: list[EmailMessage],
    state: TaskState,
) -> None:
    analyse.gate.clear()
    accepted = await upload()
    async with asyncio.timeout(5):
        await analyse.called.wait()
    arguments = {"report_id": accepted.json()["id"]}
    failed = FailedTask(accepted.json()["task_id"], "process_report", arguments, state, "")
    async with task_session():
        runner.submit(report_failed, failed)
    async with asyncio.timeout(5):
        while (await client.get(accepted.headers["Location"])).json()["finished_at"] is None:
            pass
    analyse.gate.set()  # the run goes on, but its result comes too late
    report = await finish(accepted)

    assert report["error"] == ERRORS.get(state, ABANDONED)
    assert len(outbox) == 1


@contextlib.asynccontextmanager
async def running_service() -> AsyncIterator[httpx2.AsyncClient]:
    service = create_app()
    transport = httpx2.ASGITransport(service)
    headers = {"X-API-Key": "other-key"}
    async with (
        service.router.lifespan_context(service),
        httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client,
    ):
        yield client


async def test_second_run_of_a_done_report_changes_nothing(
    analyse: Analysis,
    app: FastAPI,
    upload: Upload,
    finish: Finish,
    outbox: list[EmailMessage],
) -> None:
    accepted = await upload()
    first = await finish(accepted)
    async with app.state.database.session():
        app.state.runner.submit(process_report, UUID(first["id"]))

    assert await finish(accepted) == first
    assert analyse.calls == 1
    assert len(outbox) == 1


async def test_next_process_finishes_an_interrupted_report(
    analyse: Analysis, settings_env: pytest.MonkeyPatch
) -> None:
    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "0")
    analyse.gate.clear()
    async with running_service() as client, asyncio.timeout(30):
        data = {"email": "ann@example.com"}
        accepted = await client.post("/reports", data=data, files={"file": b"a\n1\n"})
        await analyse.called.wait()
    assert len(files()) == 1

    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "30")  # time to delete the file at the end
    analyse.gate.set()
    report = {"status": "processing"}
    async with running_service() as client, asyncio.timeout(30):
        while report["status"] == "processing":
            report = (await client.get(accepted.headers["Location"])).json()

    assert report["status"] == "done"
    assert analyse.calls == 2
    assert files() == []


async def test_settings_are_read_at_the_startup(
    monkeypatch: pytest.MonkeyPatch, upload: Upload, finish: Finish
) -> None:
    monkeypatch.setattr(ReportSettings, "__init__", None)  # fails if they are read again

    assert (await finish(await upload()))["status"] == "done"


async def test_retried_report_fails_when_its_file_is_gone(
    analyse: Analysis, upload: Upload, finish: Finish, client: httpx2.AsyncClient
) -> None:
    analyse.errors = [RuntimeError("a bug")]
    accepted = await upload()
    failed = await finish(accepted)
    shutil.rmtree(UPLOADS / failed["id"])
    await client.post(f"/tasks/{failed['task_id']}/retry")

    report = await finish(accepted)

    assert (report["status"], report["error"]) == ("failed", "the file is gone; upload it again")
