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
from app.features.reports.models import Report
from app.features.reports.tasks import process_report
from tests.features.reports.conftest import Analysis, Finish, Upload, files

LOCKED = OperationalError("UPDATE", {}, Exception("the database is locked"))


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

    assert report["status"] == ("failed" if error else "done")
    assert analyse.files == ([1] if error else [1, 1])
    assert files() == []


async def test_a_file_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, upload: Upload, finish: Finish
) -> None:
    async def keep_nothing(*_: object) -> None: ...

    monkeypatch.setattr("app.features.reports.router.keep_upload", keep_nothing)

    report = await finish(await upload())

    assert (report["status"], report["error"]) == ("failed", "the file is gone; upload it again")


def test_what_has_ended_stays_as_it_is() -> None:
    report = Report()

    assert report.finish(statistics={})
    assert not report.finish(error="too late")
    assert (report.status, report.error) == ("done", None)


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
