"""Leftovers: a report whose task cannot end it fails all the same, and no file stays for ever."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import select, update

from app.db import task_session, utc_now
from app.email import EmailMessage
from app.features.reports import leftovers
from app.features.reports.leftovers import (
    ABANDONED,
    Leftovers,
    delete_expired,
    end_abandoned,
    remove_unneeded_files,
)
from app.features.reports.models import Report
from app.tasks import TaskRunner, TaskState
from app.tasks.durable import metadata

from .conftest import UPLOADS, Analysis, Upload, files

TASKS = metadata.tables["background_tasks"]


@asynccontextmanager
async def ended_elsewhere(
    upload: Upload, analyse: Analysis, **values: object
) -> AsyncIterator[UUID]:
    """Give a report whose task is over as the table tells it, and whose run has not ended here."""
    analyse.gate.clear()
    accepted = (await upload()).json()
    async with asyncio.timeout(5):
        await analyse.called.wait()  # a run that has not begun would see what the table says
    async with task_session() as session:
        await session.execute(
            update(TASKS).where(TASKS.c.id == accepted["task_id"]).values(**values)
        )
    yield UUID(accepted["id"])
    analyse.gate.set()


async def get_report(report_id: UUID) -> Report:
    async with task_session(read_only=True) as session:
        return await session.get_one(Report, report_id)


async def until_ended(report_id: UUID) -> Report:
    """Wait for a report; every look lets the event loop go on."""
    async with asyncio.timeout(5):
        while (report := await get_report(report_id)).finished_at is None:
            pass
    return report


@pytest.mark.usefixtures("app")
async def test_a_cancelled_report_fails_at_once(
    analyse: Analysis, upload: Upload, runner: TaskRunner, outbox: list[EmailMessage]
) -> None:
    analyse.gate.clear()
    accepted = (await upload()).json()
    async with asyncio.timeout(5):
        await analyse.called.wait()
    assert await runner.cancel_durable(accepted["task_id"])

    report = await until_ended(UUID(accepted["id"]))
    await runner.join(5)

    assert (report.status, report.error) == ("failed", ABANDONED)
    assert [ABANDONED in mail.text for mail in outbox] == [True]
    async with asyncio.timeout(5):
        while files():
            await asyncio.to_thread(files)


async def test_a_cancelled_report_that_waited(
    analyse: Analysis,
    client: httpx2.AsyncClient,
    upload: Upload,
    runner: TaskRunner,
    outbox: list[EmailMessage],
) -> None:
    analyse.gate.clear()
    waiting = (await asyncio.gather(*(upload() for _ in range(3))))[-1].json()  # two may run
    await client.post(f"/tasks/{waiting['task_id']}/cancel")
    assert await end_abandoned(runner) <= 1  # the hook may have been first

    assert (await get_report(UUID(waiting["id"]))).error == ABANDONED
    analyse.gate.set()
    await runner.join(5)
    assert len(outbox) == 3
    assert files() == []


@pytest.mark.parametrize("state", [TaskState.DEAD, TaskState.CANCELLED, TaskState.TIMED_OUT])
async def test_a_task_that_ended_in_another_process(
    analyse: Analysis,
    upload: Upload,
    runner: TaskRunner,
    outbox: list[EmailMessage],
    state: TaskState,
) -> None:
    async with ended_elsewhere(upload, analyse, state=state, finished_at=0) as report_id:
        assert await end_abandoned(runner) == 1
        assert await end_abandoned(runner) == 0

        assert (await get_report(report_id)).error == ABANDONED
        assert files() == []
    await runner.join(5)
    assert len(outbox) == 1  # the run that went on comes too late to send another


async def test_a_report_in_work_is_left_alone(
    analyse: Analysis, upload: Upload, runner: TaskRunner
) -> None:
    analyse.gate.clear()
    await upload()
    age(*files())

    assert await end_abandoned(runner) == 0
    await remove_unneeded_files()

    assert len(files()) == 1
    analyse.gate.set()


def age(*paths: Path) -> None:
    """Let files be two hours old."""
    moment = time.time() - 7200
    for path in paths:
        os.utime(path, (moment, moment))


@pytest.mark.usefixtures("app")
async def test_files_that_no_report_needs() -> None:
    old, new, other = UPLOADS / f"{uuid4()}", UPLOADS / f"{uuid4()}", UPLOADS / "notes"
    for path in (old, new, other):
        path.mkdir(parents=True)
        (path / "upload.csv").touch()
    age(old, other)

    await remove_unneeded_files()

    assert sorted(files()) == sorted([new, other])


@pytest.mark.usefixtures("app")
async def test_no_folder_no_files() -> None:
    await remove_unneeded_files()

    assert files() == []


async def test_reports_are_deleted_after_the_retention(
    runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORTS_RETENTION", "3600")
    monkeypatch.setattr(leftovers, "_FIRST_LOOK", 0.0)
    monkeypatch.setattr(leftovers, "_AT_ONCE", 2)
    now = utc_now()
    ends = [now, *([now - timedelta(seconds=3700)] * 3)]
    async with task_session() as session:
        session.add_all(
            Report(task_id="", email="", file_name=str(number), finished_at=end)
            for number, end in enumerate(ends)
        )

    assert await delete_expired() <= 2
    async with Leftovers().seen_to(runner), asyncio.timeout(5):
        while len(left := await file_names()) > 1:
            pass

    assert left == ["0"]


async def file_names() -> Sequence[str]:
    async with task_session(read_only=True) as session:
        return (await session.scalars(select(Report.file_name))).all()


async def test_a_start_sees_to_what_the_last_run_left(
    analyse: Analysis, upload: Upload, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_FIRST_LOOK", 0.0)
    async with (
        ended_elsewhere(upload, analyse, state=TaskState.DEAD, finished_at=0) as report_id,
        Leftovers().seen_to(runner),
    ):
        report = await until_ended(report_id)

    assert report.error == ABANDONED


async def test_trouble_is_logged_and_tried_again(
    analyse: Analysis,
    upload: Upload,
    runner: TaskRunner,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(leftovers, "_FIRST_LOOK", 0.0)
    monkeypatch.setattr(leftovers, "_INTERVAL", 0.01)
    calls = iter([True])

    async def fail_once(runner: TaskRunner) -> int:
        if next(calls, False):
            raise OSError("the disk is away")
        return await end_abandoned(runner)

    monkeypatch.setattr(leftovers, "end_abandoned", fail_once)
    async with (
        ended_elsewhere(upload, analyse, state=TaskState.DEAD, finished_at=0) as report_id,
        Leftovers().seen_to(runner),
    ):
        report = await until_ended(report_id)

    assert report.error == ABANDONED
    assert "the leftovers of reports could not be seen to" in caplog.text
