"""Errors: whatever goes wrong, the answer is a problem document."""

import asyncio
import errno
import tempfile
from typing import NoReturn

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from starlette.types import Message

from app.tasks import RunnerClosed
from tests.conftest import API_KEY
from tests.problems import check_problem

from .failing_routes import ERRORS, router


@pytest.fixture(scope="module")
def app(shared_app: FastAPI) -> FastAPI:
    shared_app.include_router(router)
    return shared_app


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/items", "POST"), ("/items/1", "HEAD, GET, DELETE"), ("/status/1", "HEAD, GET")],
)
async def test_wrong_method_is_405_with_the_allowed_methods(
    client: httpx2.AsyncClient, path: str, allowed: str
) -> None:
    response = await client.put(path)

    check_problem(response, 405)
    assert response.headers["Allow"] == allowed


async def test_invalid_path_parameter_is_422_without_its_value(client: httpx2.AsyncClient) -> None:
    response = await client.get("/items/hunter2")

    check_problem(response, 422)
    assert response.json()["errors"][0]["loc"] == ["path", "number"]
    assert "hunter2" not in response.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": NaN}',
        b'{"name": "a", "number": [1e999]}',
        b'{"name": "a", "number": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"name": "a", "\\ud800": 1}',
        b"not json",
        b"",
        b"[1]",
        b"null",
        b'{"name": "a"',
        b'{"name": "\x00"}',
    ],
)
async def test_json_that_cannot_be_echoed_is_422(client: httpx2.AsyncClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}

    response = await client.post("/items", content=body, headers=headers)

    check_problem(response, 422)


async def test_error_under_a_key_that_cannot_be_encoded_is_422(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}

    response = await client.post("/numbers", content=b'{"\\udfff": "x"}', headers=headers)

    check_problem(response, 422)
    assert response.json()["errors"][0]["loc"][0] == "body"


async def test_full_temporary_folder_is_503_and_logged_once(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", fill)  # used for uploads over 1 MB
    for size, status in ((10, 200), (2**21, 503)):
        response = await client.post("/large-files", files={"file": bytes(size)})
        assert response.status_code == status

    assert check_problem(response, 503) == "nothing can be stored just now"
    assert response.headers["Retry-After"] == "1"
    lines = [record.getMessage() for record in caplog.records if record.name == "app.errors"]
    assert len(lines) == 1
    assert "No space left" in lines[0]


@pytest.mark.parametrize(
    ("error", "traced"),
    [
        (OperationalError("SELECT 1", {}, Exception("took too long")), True),
        (OperationalError(None, None, Exception("connection refused")), False),
        (RunnerClosed("the task runner is shutting down"), False),
    ],
)
async def test_only_a_failed_statement_is_logged_with_its_traceback(
    client: httpx2.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    traced: bool,
) -> None:
    monkeypatch.setitem(ERRORS, "it", error)
    check_problem(await client.get("/errors/it"), 503)
    [line] = [record.msg for record in caplog.records if record.name == "app.errors"]
    assert isinstance(line, dict)
    assert bool(line["exc_info"]) == traced
    assert line["error"].startswith(type(error).__name__)


async def test_missing_temporary_folder_is_500(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nothing/here")

    check_problem(await client.post("/large-files", files={"file": bytes(2**21)}), 500)


@pytest.mark.parametrize(
    ("status", "title"), [(409, "Conflict"), (499, "Error"), (599, "Error"), (999, "Error")]
)
async def test_any_error_status_is_a_problem_document(
    client: httpx2.AsyncClient, status: int, title: str
) -> None:
    response = await client.get(f"/status/{status}")

    assert check_problem(response, status, title) == "in words"
    assert response.headers["X-More"] == "1"


async def test_retry_after_of_an_error_is_sent_once(client: httpx2.AsyncClient) -> None:
    response = await client.get("/errors/busy")

    assert check_problem(response, 429) == "in words"
    assert response.headers.get_list("Retry-After") == ["30"]


@pytest.mark.parametrize("status", [204, 304, 307])
async def test_status_below_400_is_not_a_problem_document(
    client: httpx2.AsyncClient, status: int
) -> None:
    response = await client.get(f"/status/{status}")

    assert response.status_code == status
    assert response.headers.get("Content-Type") != "application/problem+json"
    assert response.headers["X-More"] == "1"


async def test_request_cut_off_by_a_shutdown_is_503_with_retry_after(app: FastAPI) -> None:
    sent: list[Message] = []
    reading = asyncio.Event()

    async def receive() -> Message:
        reading.set()
        return await asyncio.Event().wait()  # type: ignore[return-value]  # never returns

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/bytes", "query_string": b""}
    headers = [(b"x-api-key", API_KEY.encode())]
    request = asyncio.create_task(app({**scope, "headers": headers}, receive, send))
    async with asyncio.timeout(5):
        await reading.wait()
    request.cancel()  # as the server does after its --timeout-graceful-shutdown
    await asyncio.wait([request], timeout=5)

    assert request.cancelled()
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"1") in sent[0]["headers"]


@pytest.mark.parametrize("path", ["/bytes", "/files"])
async def test_disconnected_caller_is_499_and_logs_no_error(
    app: FastAPI, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [
        (b"content-length", b"10"),
        (b"content-type", b"multipart/form-data; boundary=x"),
        (b"x-api-key", API_KEY.encode()),
    ]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await app({**scope, "query_string": b"", "root_path": "", "client": None}, receive, send)

    assert sent[0]["status"] == 499
    assert [record.name for record in caplog.records] == ["app.access"]
