"""The task: however a run ends, the report says so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.email import EmailMessage
from app.features.reports.leftovers import ABANDONED
from app.features.reports.models import Report, ReportStatus
from app.features.reports.tasks import INTERNAL, TOO_SLOW, process_report
from app.tasks import TaskRunner

from .conftest import Analysis, Finish, Upload, files

LOCKED = OperationalError("UPDATE", {}, Exception("the database is locked"))


async def test_a_database_that_is_locked_for_a_moment(
    analyse: Analysis, upload: Upload, finish: Finish, outbox: list[EmailMessage]
) -> None:
    analyse.errors = [LOCKED, LOCKED]

    report = await finish(await upload())

    assert (report["status"], report["error"]) == ("done", None)
    assert analyse.calls == 3
    assert len(outbox) == 1
    assert files() == []


@pytest.mark.parametrize("errors", [[LOCKED] * 6, [RuntimeError("the secret path")]])
async def test_an_unexpected_error(
    analyse: Analysis,
    upload: Upload,
    finish: Finish,
    runner: TaskRunner,
    outbox: list[EmailMessage],
    errors: list[Exception],
) -> None:
    analyse.errors = [*errors]

    report = await finish(await upload())

    assert (report["status"], report["error"]) == ("failed", INTERNAL)
    assert report["finished_at"] is not None
    assert analyse.calls == len(errors)
    assert runner.snapshot().failed == 1
    assert INTERNAL in outbox[0].text
    assert files() == []


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let the first commit of a report's end fail."""
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
async def test_an_end_that_cannot_be_stored(
    analyse: Analysis, upload: Upload, finish: Finish, error: Exception | None
) -> None:
    analyse.errors = [] if error is None else [error]

    report = await finish(await upload())

    assert report["status"] == "done"
    assert analyse.files == [1, 1]
    assert files() == []


async def test_a_file_that_takes_too_long(
    analyse: Analysis, upload: Upload, finish: Finish, runner: TaskRunner
) -> None:
    analyse.errors = [TimeoutError()]

    report = await finish(await upload())

    assert (report["status"], report["error"]) == ("failed", TOO_SLOW)
    assert runner.snapshot().failed == 0


async def test_the_status_while_it_is_processed(
    analyse: Analysis, client: httpx2.AsyncClient, upload: Upload
) -> None:
    analyse.gate.clear()
    accepted = await upload()
    async with asyncio.timeout(5):
        await analyse.called.wait()

    report = (await client.get(accepted.headers["Location"])).json()
    analyse.gate.set()

    assert (report["status"], report["finished_at"]) == ("processing", None)


async def test_a_file_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, upload: Upload, finish: Finish
) -> None:
    async def keep_nothing(*_: object) -> None: ...

    monkeypatch.setattr("app.features.reports.router.keep_upload", keep_nothing)

    report = await finish(await upload())

    assert (report["status"], report["error"]) == ("failed", "the file is gone; upload it again")


async def test_a_second_run_changes_nothing(
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


async def test_a_cancelled_task(
    analyse: Analysis, client: httpx2.AsyncClient, upload: Upload, runner: TaskRunner
) -> None:
    analyse.gate.clear()
    accepted = await upload()
    async with asyncio.timeout(5):
        await analyse.called.wait()

    await runner.cancel_durable(accepted.json()["task_id"])
    await runner.join(5)
    report = (await client.get(accepted.headers["Location"])).json()

    assert (report["status"], report["error"]) == ("failed", ABANDONED)


def test_what_has_ended_stays_as_it_is() -> None:
    report = Report()

    assert report.finish(statistics={})
    assert not report.finish(error="too late")
    assert (report.status, report.error) == (ReportStatus.DONE, None)


@contextlib.asynccontextmanager
async def running_service() -> AsyncIterator[httpx2.AsyncClient]:
    from app.main import create_app  # noqa: PLC0415 - importing it reads the settings

    service = create_app()
    transport = httpx2.ASGITransport(service)
    headers = {"X-API-Key": "other-key"}
    async with (
        service.router.lifespan_context(service),
        httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client,
    ):
        yield client


async def test_the_next_process_goes_on(
    analyse: Analysis, settings_env: pytest.MonkeyPatch
) -> None:
    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "0")
    analyse.gate.clear()
    async with running_service() as client, asyncio.timeout(30):
        data = {"email": "ann@example.com"}
        accepted = await client.post("/reports", data=data, files={"file": b"a\n1\n"})
        await analyse.called.wait()
    assert len(files()) == 1

    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "30")  # the file goes after the report is done
    analyse.gate.set()
    report = {"status": "processing"}
    async with running_service() as client, asyncio.timeout(30):
        while report["status"] == "processing":
            report = (await client.get(accepted.headers["Location"])).json()

    assert report["status"] == "done"
    assert analyse.calls == 2
    assert files() == []
