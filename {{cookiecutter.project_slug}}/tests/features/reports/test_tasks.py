"""The task: however a run ends, the report says so."""

import asyncio
import os
from datetime import timedelta
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy.exc import OperationalError

from app.db import task_session, utc_now
from app.email import EmailMessage
from app.features.reports.models import Report
from app.features.reports.tasks import ABANDONED, INTERNAL, clean_up, report_failed
from app.tasks import FailedTask, TaskRunner, TaskState

from .conftest import UPLOADS, Analysis, Finish, Upload, files

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


async def test_a_cancelled_task(
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
    assert files() == []


@pytest.mark.parametrize("state", [TaskState.DEAD, TaskState.TIMED_OUT, TaskState.FAILED])
async def test_a_report_whose_task_has_failed_ends_once(
    analyse: Analysis,
    upload: Upload,
    finish: Finish,
    runner: TaskRunner,
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
        while files():
            await asyncio.to_thread(files)  # lets the event loop go on
    analyse.gate.set()  # a run that goes on comes too late
    report = await finish(accepted)

    assert report["error"] == (INTERNAL if state is TaskState.FAILED else ABANDONED)
    assert len(outbox) == 1


async def test_what_is_old_is_removed(
    upload: Upload, finish: Finish, client: httpx2.AsyncClient
) -> None:
    old, new, other = (UPLOADS / name for name in (f"{uuid4()}", f"{uuid4()}", "no-id-of-our-own"))
    for folder in (old, new, other):
        folder.mkdir(parents=True)
    for folder in (old, other):
        os.utime(folder, (0, 0))
    expired = utc_now() - timedelta(days=91)
    async with task_session() as session:
        session.add(Report(task_id="", email="", finished_at=expired))

    accepted = await upload()
    await finish(accepted)

    assert {report["id"] for report in (await client.get("/reports")).json()} == {
        accepted.json()["id"]
    }
    assert sorted(files()) == sorted([new, other])


async def test_a_report_that_waits_keeps_its_file(analyse: Analysis, upload: Upload) -> None:
    analyse.gate.clear()
    await upload()
    for path in files():
        os.utime(path, (0, 0))

    await clean_up()

    assert len(files()) == 1
    analyse.gate.set()
