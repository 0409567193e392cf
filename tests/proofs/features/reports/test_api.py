"""The endpoints: a file goes in, a report and a mail come out; bad input is a clear error."""

import errno
from collections.abc import Iterator
from typing import BinaryIO

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.types import Message, Receive, Scope, Send

from app.features.reports.models import Report
from app.mail import EmailMessage
from app.service import create_app
from app.settings import ConfigurationError
from app.tasks import TaskRunner
from cost import costs_little
from tests.features.reports.conftest import Analysis, Finish, Upload, files
from tests.problems import check_problem

from .conftest import count_reports
from .test_csv_file import BAD_FILES


async def test_invalid_files_are_accepted_and_make_failed_reports(
    client: httpx2.AsyncClient, upload: Upload, runner: TaskRunner, outbox: list[EmailMessage]
) -> None:
    contents = [parameters.values[0] for parameters in BAD_FILES]
    messages = [parameters.values[1] for parameters in BAD_FILES]
    accepted = [await upload(content) for content in contents]
    await runner.join(60)
    ended = [(await client.get(response.headers["Location"])).json() for response in accepted]

    assert {response.status_code for response in accepted} == {202}
    assert [report["error"] for report in ended] == messages
    assert {report["status"] for report in ended} == {"failed"}
    assert {report["statistics"] for report in ended} == {None}
    assert all(report["finished_at"] for report in ended)
    assert files() == []
    assert len(outbox) == len(messages)
    assert all(any(str(message) in mail.text for mail in outbox) for message in messages)


async def test_column_with_an_infinite_number_is_text(upload: Upload, finish: Finish) -> None:
    report = await finish(await upload(b"a,b,c\n1,2,3\nNaN,1e400,-inf\n"))

    assert report["status"] == "done"
    types = [column["type"] for column in report["statistics"]["columns"]]
    assert types == ["integer", "text", "text"]  # NaN is a missing value


async def test_file_of_some_megabytes_is_analysed(upload: Upload, finish: Finish) -> None:
    rows = 300_000
    report = await finish(await upload(b"number\n" + b"1234567\n" * rows))

    (column,) = report["statistics"]["columns"]
    assert (column["count"], column["distinct"]) == (rows, 1)


async def test_too_many_fields_are_400(client: httpx2.AsyncClient) -> None:
    fields = {f"field{number}": (None, "x") for number in range(1100)}

    check_problem(await client.post("/reports", files=fields), 400)


@pytest.mark.parametrize("field", ["email", "priority", "other", "name"])
async def test_100_kb_in_a_field_cost_little(upload: Upload, field: str) -> None:
    await upload(email="ann")  # loads lazy imports before the time is measured
    for pattern in ["@.", "a@", "9", "é", "/"]:
        with costs_little():
            response = await upload(**{field: (pattern * 100_000)[:100_000]})
        check_problem(response, 400)


# Starlette leaves the file of the unfinished part to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_truncated_multipart_is_422_and_leaves_no_file(client: httpx2.AsyncClient) -> None:
    email = b'--x\r\nContent-Disposition: form-data; name="email"\r\n\r\nann@example.com\r\n'
    file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="x.csv"\r\n\r\na\n1'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    response = await client.post("/reports", content=email + file, headers=headers)

    check_problem(response, 422)
    assert response.json()["errors"][0]["loc"] == ["body", "file"]
    assert files() == []


async def test_second_file_is_400(client: httpx2.AsyncClient) -> None:
    parts = [("file", ("x.csv", b"a\n1\n"))] * 2

    response = await client.post("/reports", files=parts, data={"email": "ann@example.com"})

    check_problem(response, 400)


async def test_failed_copy_leaves_no_file_and_no_report(
    app: FastAPI, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: BinaryIO, target: BinaryIO, _: int) -> None:
        target.write(source.read(3))
        target.flush()
        assert len(files()) == 1
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr("shutil.copyfileobj", fail)

    check_problem(await upload(), 503)
    assert files() == []
    assert await count_reports(app) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REPORTS_RETENTION", "0"),
        ("REPORTS_RETENTION", "inf"),
    ],
)
def test_invalid_retention_stops_the_startup(
    settings_env: pytest.MonkeyPatch, name: str, value: str
) -> None:
    settings_env.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name):
        create_app()


@pytest.fixture
def broken_commits() -> Iterator[None]:
    def fail(session: Session) -> None:
        if any(isinstance(row, Report) for row in session.new):
            raise OperationalError("COMMIT", {}, Exception("the disk is full"))

    event.listen(Session, "before_commit", fail)
    yield
    event.remove(Session, "before_commit", fail)


@pytest.mark.usefixtures("broken_commits")
async def test_failed_commit_leaves_no_file_report_or_mail(
    app: FastAPI, upload: Upload, runner: TaskRunner, outbox: list[EmailMessage]
) -> None:
    response = await upload()
    await runner.join(5)

    check_problem(response, 503)
    assert files() == []
    assert await count_reports(app) == 0
    assert outbox == []


async def test_report_is_made_when_the_caller_hangs_up_on_the_answer(
    app: FastAPI, analyse: Analysis, client: httpx2.AsyncClient, runner: TaskRunner
) -> None:
    async def cut_off(scope: Scope, receive: Receive, send: Send) -> None:
        async def fail(message: Message) -> None:
            if message["type"] == "http.response.body":
                raise OSError(errno.EPIPE, "broken pipe")
            await send(message)

        await app(scope, receive, fail)

    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(cut_off), base_url="http://test", headers=client.headers
    ) as other:
        with pytest.raises(OSError, match="broken pipe"):
            await other.post(
                "/reports", files={"file": ("a.csv", b"a\n1\n")}, data={"email": "ann@example.com"}
            )
    await runner.join(20)

    assert analyse.files == [1]
