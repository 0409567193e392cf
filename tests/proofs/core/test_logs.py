"""Logs: what a line contains in both formats, and what it must never contain."""

import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from structlog.stdlib import ProcessorFormatter

from app.logs import LOG_CONTEXT, configure_logging
from app.middleware import Answered, access_log
from app.tasks import LoggingObserver, TaskRunner, TaskSettings, task
from cost import costs_little
from tasks.python_path import PYTHONPATH
from tests.conftest import PRODUCTION
from tests.server import ServerProcess

from .failing_routes import SERVICE
from .wire import exchange

CONTROL = "first\r\nsecond\nthird\rfourth"


@task
def log_a_lot() -> None:
    structlog.get_logger("tests.structlog").info("from structlog")
    logging.getLogger("tests.stdlib").info("from the standard library")


@task
async def fail() -> None:
    raise RuntimeError


class Log:
    """The lines logged since `configure` was called."""

    def __init__(self, *, json: bool) -> None:
        self.access = access_log(fields=json)
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


Configure = Callable[..., Log]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Yield `configure_logging` writing to a string instead of stdout; undo it afterwards."""
    names = ("", "app", "app.access", "uvicorn", "uvicorn.error", "uvicorn.access")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, {**vars(logger), "handlers": logger.handlers[:]}) for logger in loggers]

    def configure(*, json: bool, level: str = "INFO") -> Log:
        log = Log(json=json)
        monkeypatch.setattr(sys, "stdout", log.stream)
        configure_logging(level, json=json)
        return log

    yield configure
    for logger, state in before:
        logger.setLevel(state.pop("level"))
        vars(logger).update(state)
    structlog.contextvars.clear_contextvars()


def remove_other_handlers() -> None:
    """Remove the handlers that are not ours, such as pytest's."""
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if isinstance(h.formatter, ProcessorFormatter)]


def log_access(log: Log, path: str = "/a") -> None:
    log.access(Answered("GET", path, None, 200, 0.0123, None))


def test_lines_below_the_log_level_are_dropped(configure: Configure) -> None:
    log = configure(json=True, level="WARNING")
    for logger in (structlog.get_logger("one"), logging.getLogger("two")):
        logger.info("not this")
        logger.warning("this")

    assert log.text.count("\n") == 2
    assert "not this" not in log.text


def test_configuring_twice_does_not_duplicate_lines(configure: Configure) -> None:
    for _ in range(3):
        log = configure(json=True)
    for name in ("one", "uvicorn.error"):
        logging.getLogger(name).info("once")
    log_access(log)

    assert len(log.text.splitlines()) == 3


@pytest.mark.parametrize(("given", "lines"), [([], 0), ([logging.StreamHandler()], 1)])
def test_access_log_replaces_uvicorns_and_obeys_its_no_access_log_option(
    configure: Configure, given: list[logging.Handler], lines: int
) -> None:
    logger = logging.getLogger("uvicorn.access")
    logger.handlers, logger.propagate = given, False  # as uvicorn does; [] is --no-access-log
    logger.disabled = False

    for _ in range(2):
        log = configure(json=True)
    log_access(log)
    logger.info("once more")

    assert len(log.events) == lines
    assert not logger.hasHandlers()  # uvicorn checks this for each connection


@pytest.mark.parametrize("json", [True, False])
def test_the_end_of_a_long_traceback_is_logged(configure: Configure, json: bool) -> None:
    def fail(depth: int) -> None:
        try:
            raise ValueError("v" * 300)
        except ValueError as error:
            if depth == 0:
                raise KeyError("the last of many") from error
            fail(depth - 1)

    log = configure(json=json)
    try:
        fail(60)
    except KeyError:
        logging.getLogger("app.orders").exception("failed")

    assert len(log.text) > 12_000
    assert "the last of many" in log.text


def test_debug_lines_of_libraries_are_dropped(configure: Configure) -> None:
    log = configure(json=True, level="DEBUG")
    for name in ("app.orders", "aiosqlite"):
        logging.getLogger(name).debug("in detail")

    assert [line["logger"] for line in log.events] == ["app.orders"]


@pytest.mark.parametrize("json", [True, False])
def test_traceback_of_a_failed_startup_omits_the_message(configure: Configure, json: bool) -> None:
    log = configure(json=json)
    text = "Traceback (most recent call last):\n  File 'a.py'\nKeyError: 'password=hunter2'\n"
    logging.getLogger("uvicorn.error").error(text)
    logging.getLogger("others").error(text)  # a message that may repeat what a caller sent

    first, *lines = log.text.splitlines()
    assert "the service failed to start or to shut down" in first
    assert len(lines) == (1 if json else 4)
    assert "hunter2" not in log.text


def test_exceptions_in_json_have_no_local_variables(configure: Configure) -> None:
    log = configure(json=True)
    for logger in (structlog.get_logger("one"), logging.getLogger("two")):
        try:
            password = "hunter2"
            int("x" * len(password))
        except ValueError:
            logger.exception("it failed")

    lines = log.events

    for line in lines:
        (error,) = line["exception"]
        assert error["exc_type"] == "ValueError"
        assert error["frames"][-1]["name"] == "test_exceptions_in_json_have_no_local_variables"
        assert "locals" not in error["frames"][-1]
        assert "hunter2" not in json.dumps(line)
    assert len(lines) == 2


def test_exceptions_on_the_console_have_no_local_variables(configure: Configure) -> None:
    log = configure(json=False)
    try:
        password = "hunter2"
        int("x" * len(password))
    except ValueError:
        structlog.get_logger("one").exception("it failed")

    text = log.text

    assert "Traceback" in text
    assert "ValueError: invalid literal" in text
    assert "'hunter2'" not in text


def log_control_characters(log: Log) -> int:
    """Log CR and LF in every part of an event; return the expected number of lines."""
    structlog.contextvars.bind_contextvars(request_id=CONTROL)
    structlog.get_logger("one").info(CONTROL)
    structlog.get_logger("one").info("event", value=CONTROL, other={"a": [CONTROL]})
    logging.getLogger("two").info(CONTROL)
    logging.getLogger("two").info("event %s", CONTROL)
    logging.getLogger("two").info("event", extra={"value": CONTROL})
    log_access(log, CONTROL)
    return 6


def test_line_breaks_in_values_cannot_forge_a_json_line(configure: Configure) -> None:
    log = configure(json=True)

    expected = log_control_characters(log)

    lines = log.text.split("\n")
    assert len(lines) == expected + 1
    assert "\r" not in log.text
    assert all(json.loads(line)["request_id"] == CONTROL for line in lines[:-1])


def test_line_breaks_in_values_cannot_forge_a_console_line(configure: Configure) -> None:
    log = configure(json=False)

    expected = log_control_characters(log)

    assert log.text.count("\n") == expected
    assert "\r" not in log.text


ESCAPES = "\x1b[31m \x9b31m \x08\x07\x7f\r \u202e \u2066 \ud800"
"""ESC, C1, backspace, bell, delete, carriage return, bidirectional overrides, a lone surrogate."""


class Hostile:
    def __repr__(self) -> str:
        return ESCAPES


@pytest.mark.parametrize("make", [structlog.get_logger, logging.getLogger])
def test_terminal_control_characters_are_escaped_on_the_console(
    configure: Configure, make: Callable[[str], Any]
) -> None:
    log = configure(json=False)
    structlog.contextvars.bind_contextvars(text=ESCAPES, object=Hostile(), a={ESCAPES: [ESCAPES]})
    logger = make(f"name {ESCAPES}")
    logger.info(ESCAPES)
    try:
        raise ValueError(f"{ESCAPES}\n\tsecond line")
    except ValueError:
        logger.exception(ESCAPES)
        logger.error(ESCAPES, stack_info=True)
    log_access(log, ESCAPES)

    assert all(line.replace("\t", "").isprintable() for line in log.text.split("\n"))
    assert log.text.count("\\x1b[31m") >= 8
    assert "\n\tsecond line\n" in log.text


@pytest.mark.parametrize("level", ["info", "error"])
@pytest.mark.parametrize("unit", ["\x1b", "/"])
def test_logging_a_large_event_costs_little(configure: Configure, level: str, unit: str) -> None:
    configure(json=False)
    remove_other_handlers()
    log_it = getattr(structlog.get_logger("one"), level)
    with costs_little():
        log_it(unit * 100_000)


def test_characters_that_stdout_cannot_encode_are_escaped(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, written = configure(json=False), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "latin-1"))
    configure_logging("INFO", json=False)
    log_access(log, "/\N{SNOWMAN}")
    structlog.get_logger("one").info("\N{SNOWMAN}")

    assert written.getvalue().count(b"\\u2603") == 2


def test_lines_are_dropped_without_an_error_when_stdout_is_closed(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stdout, stderr = os.fdopen(writer, "w"), io.StringIO()
    configure(json=True)
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    configure_logging("INFO", json=True)
    remove_other_handlers()
    logging.getLogger("one").info("nobody reads this")
    assert stderr.getvalue() == ""

    logging.getLogger("one").info("%d", "no number")  # a mistake that its author must see
    assert "Logging error" in stderr.getvalue()
    with pytest.raises(BrokenPipeError):
        stdout.close()


def test_values_that_json_cannot_encode_are_logged_as_text(configure: Configure) -> None:
    log = configure(json=True)
    structlog.get_logger("one").info("event", object=object(), nan=float("nan"), bytes=b"\xff")
    logging.getLogger("two").info("lone surrogate \ud800")

    first, second = log.events

    assert first["object"].startswith("<object object")
    assert second["event"] == "lone surrogate \ud800"


async def test_lines_of_a_task_carry_its_id(configure: Configure) -> None:
    log = configure(json=True)
    structlog.contextvars.bind_contextvars(request_id="r1")
    async with TaskRunner(TaskSettings(), [LoggingObserver()]) as runner:
        ids = [runner.submit(log_a_lot), runner.submit(fail)]
        await runner.join(5)
    structlog.get_logger("tests").info("afterwards")

    *task_lines, last_line = log.events

    assert {line["event"] for line in task_lines} == {
        "from structlog",
        "from the standard library",
        "task failed",
    }
    for line in task_lines:
        assert line["request_id"] == "r1"
        failed = line["event"] == "task failed"
        assert line["task_id"] == ids[failed]
        assert line["task"] == ("fail" if failed else "log_a_lot")
    assert "task_id" not in last_line


def test_log_context_survives_json() -> None:
    structlog.contextvars.bind_contextvars(request_id="r1", amount=1)

    saved = json.loads(json.dumps(LOG_CONTEXT.inject()))
    structlog.contextvars.clear_contextvars()
    LOG_CONTEXT.extract(saved)

    assert structlog.contextvars.get_contextvars() == {"request_id": "r1", "amount": "1"}
    structlog.contextvars.clear_contextvars()


HANDSHAKE = b"""GET /socket?token=%22a"b?c HTTP/1.1\r
Host: localhost\r
Connection: Upgrade\r
Upgrade: websocket\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
Sec-WebSocket-Version: 13\r
\r
"""


def test_in_production_every_line_is_json(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    production = {**PRODUCTION, "DATABASE_URL": database_url, "SHUTDOWN_DELAY": "0"}
    with ServerProcess(tmp_path, "service:app", PYTHONPATH=PYTHONPATH, **production) as server:
        server.wait_for_line("startup complete")
        server.get("/nothing%0d%0aforged?a=%0d%0aforged", key=PRODUCTION["API_KEYS"])
        server.get("/errors/bug", key=PRODUCTION["API_KEYS"])
        exchange(server, b"GET /\r\nforged HTTP/1.1\r\n\r\n")
        exchange(server, HANDSHAKE)
        server.terminate()
        server.wait_for_exit()
        output = server.output

    lines = [json.loads(line) for line in output]
    access = [line for line in lines if line["logger"] == "app.access"]
    assert [line["status"] for line in access] == [404, 500]
    assert "forged" in access[0]["event"]
    [socket] = [line["event"] for line in lines if "WebSocket" in line["event"]]
    assert socket.endswith('"WebSocket /socket" 403')
    (bug,) = [line for line in lines if line["level"] == "error"]
    assert bug["request_id"] == access[1]["request_id"]
    assert bug["exception"][0]["exc_value"] == "internal words"
    assert "Finished server process" in lines[-1]["event"]


async def test_access_log_line_stays_short_when_the_path_is_long(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await client.get(f"/{'a' * 60_000}")).status_code == 431

    [line] = [record.getMessage() for record in caplog.records if record.name == "app.access"]
    assert len(line) < 2000


def test_line_of_a_websocket_stays_short_when_the_path_is_long(configure: Configure) -> None:
    log = configure(json=True)
    for path in ("/a", "/a?token=hunter2", f"/{'a' * 8000}", f"/{'a' * 8000}?token=hunter2"):
        logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" 403', "127.0.0.1:1", path)

    events = [json.loads(line)["event"] for line in log.text.splitlines()]
    assert events[:2] == ['127.0.0.1:1 - "WebSocket /a" 403'] * 2
    assert all(event.endswith('a" 403') and len(event) < 1100 for event in events)
