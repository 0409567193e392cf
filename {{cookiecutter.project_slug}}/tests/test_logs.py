"""Logs: the fields of a line, and the secrets that are kept out of it."""

import logging
import re
from collections.abc import Iterator
from json import dumps, loads
from typing import Any
from unittest.mock import AsyncMock

import httpx2
import pytest
import structlog
from fastapi import APIRouter, FastAPI
from starlette.types import Message, Receive, Scope, Send

from app.logs import configure_logging
from app.middleware import RequestMiddleware, access_log
from app.tasks import TaskRunner, Tasks, task

Output = pytest.CaptureFixture[str]

SECRET_ERROR = ValueError("mysql://user:hunter2@host/db and password=hunter2")

router = APIRouter()


@task
async def fail_in_the_log() -> None:
    password = "hunter2"  # a local variable that must not be shown
    raise RuntimeError(f"no {len(password)}")


@router.post("/test-logging")
async def add_task(tasks: Tasks) -> str:
    return tasks.add_task(fail_in_the_log)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Undo the changes of `configure_logging` after each test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()


def events(output: Output) -> list[dict[str, Any]]:
    """Return the lines logged as JSON, without those that the fixtures log as text."""
    return [loads(line) for line in output.readouterr().out.splitlines() if line[0] == "{"]


def test_structlog_and_logging_write_the_same_fields(capsys: Output) -> None:
    configure_logging("INFO", json=True)
    structlog.contextvars.bind_contextvars(request_id="r1")
    structlog.get_logger("one").warning("hello", amount=1)
    logging.getLogger("two").warning("hello %s", "you", extra={"amount": 2})

    first, second = events(capsys)

    assert first.pop("timestamp").endswith("Z")
    assert second.pop("timestamp").endswith("Z")
    common = {"level": "warning", "request_id": "r1"}
    assert first == {**common, "event": "hello", "logger": "one", "amount": 1}
    assert second == {**common, "event": "hello you", "logger": "two", "amount": 2}


@pytest.mark.parametrize("json", [True, False])
async def test_a_request_is_logged_in_one_line(capsys: Output, json: bool) -> None:
    async def application(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": []})

    async def send(_: Message) -> None: ...

    configure_logging("INFO", json=json)
    service = RequestMiddleware(application, hsts=False, observers=[access_log(fields=json)])
    headers, state = [(b"x-request-id", b"r1")], {"caller": "shop"}
    scope = {"type": "http", "method": "POST", "path": "/orders\n", "query_string": b"key=secret"}
    await service({**scope, "headers": headers, "state": state}, AsyncMock(), send)

    (text,) = capsys.readouterr().out.splitlines()
    if not json:
        shown = r"\S+Z \[info     \] POST /orders\\n 201 [0-9.]+ ms +\[app.access\]"
        assert re.fullmatch(shown + " caller=shop request_id=r1", text)
        return
    line = loads(text)
    fields = ("logger", "level", "method", "path", "status", "request_id", "caller")
    expected = ["app.access", "info", "POST", "/orders\n", 201, "r1", "shop"]
    assert [line[field] for field in fields] == expected
    assert 0 <= line["duration_ms"] < 5000


async def test_health_checks_are_logged_only_when_they_fail(
    app: FastAPI, client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await client.get("/health/live")
    await client.get("/health/ready")
    app.state.shutdown.announced = True
    await client.get("/health/ready")

    shown = re.findall(r"GET (\S+ \d+) ", caplog.text)
    assert shown == ["/health/ready 503"]


@pytest.mark.parametrize("json", [True, False])
def test_secrets_in_exceptions_are_not_logged(capsys: Output, json: bool) -> None:
    configure_logging("INFO", json=json)
    for logger in (structlog.get_logger("one"), logging.getLogger("two")):
        try:
            raise SECRET_ERROR from SECRET_ERROR
        except ValueError as error:
            error.add_note("password=hunter2")
            logger.exception("it failed")
            logger.info("it failed", exc_info=ExceptionGroup("both", [error]))
            logger.error(f"it failed: {error}")  # noqa: G004 - as careless code does
    values = {"error": SECRET_ERROR, "all": [str(SECRET_ERROR)], "some": {str(SECRET_ERROR)}}
    structlog.get_logger("one").warning("it failed", **values)

    text = capsys.readouterr().out

    assert text.count("it failed") == 7
    assert "//***@host/db" in text
    assert "hunter2" not in text


async def test_the_log_of_a_task_has_the_id_of_its_request(
    app: FastAPI, client: httpx2.AsyncClient, runner: TaskRunner, capsys: Output
) -> None:
    configure_logging("INFO", json=True)
    app.include_router(router)

    answer = await client.post("/test-logging", headers={"X-Request-ID": "from-outside"})
    await runner.join(5)
    structlog.get_logger("tests").info("afterwards")

    lines = events(capsys)
    (failure,) = [line for line in lines if line.get("task") == "fail_in_the_log"]
    assert failure["event"] == "task failed"
    assert failure["task_id"] == answer.json()
    assert failure["request_id"] == "from-outside"
    assert failure["exception"][0]["exc_value"] == "no 7"
    assert "hunter2" not in dumps(failure)
    assert "task_id" not in lines[-1]
