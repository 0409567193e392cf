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
from app.features.reports.tasks import INTERNAL, process_report
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
