"""Structured logs: one line an event, with request and task id; JSON in production."""

import json
import logging
import re
import sys
from collections.abc import Mapping
from io import TextIOWrapper
from typing import Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from app.tasks import Propagator, current_task, describe_traceback, redact

_TEXT_LENGTH = 20_000
"""Characters that are logged of each text in a line about trouble; a traceback has no more."""
_TROUBLE = frozenset({"warning", "error", "critical"})
_QUERY = re.compile(r'( - "WebSocket [^?]*)[?].*(?=")')
"""uvicorn's line about a WebSocket: its query may hold a token, since browsers send no headers."""


class _Handler(logging.StreamHandler[TextIO]):
    """Loses lines that nobody takes: Python would tell of each in forty lines on stderr."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as Python calls it
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


_HANDLER = _Handler()


def configure_logging(level: str, *, json: bool) -> None:
    """Send what structlog and the standard library log to stdout, in one format.

    Calling it again replaces the configuration.
    """
    structlog.configure(
        processors=[ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    if isinstance(sys.stdout, TextIOWrapper):
        # Not everywhere it is UTF-8: a path or a mail with other characters would be lost.
        sys.stdout.reconfigure(errors="backslashreplace")
    _HANDLER.stream = sys.stdout
    _HANDLER.setFormatter(_formatter(json=json))
    root = logging.getLogger()
    root.addHandler(_HANDLER)  # those of others stay, a test runner's for example
    # What libraries say at DEBUG would bury what the service says.
    root.setLevel(max(logging.INFO, logging.getLevelName(level)))
    logging.getLogger("app").setLevel(level)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it says a lot at every start
    server = logging.getLogger("uvicorn")
    server.handlers.clear()
    server.propagate = True
    _take_over_access_log()


def _take_over_access_log() -> None:
    """Let uvicorn log no requests, and the service all, unless uvicorn was told not to."""
    uvicorns = logging.getLogger("uvicorn.access")
    if not uvicorns.disabled:  # this is the first call
        logging.getLogger("app.access").disabled = not uvicorns.hasHandlers()
    uvicorns.handlers.clear()
    uvicorns.propagate = False
    uvicorns.disabled = True


def _formatter(*, json: bool) -> logging.Formatter:
    return ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _tidy],
        processors=[
            structlog.stdlib.add_logger_name,
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.add_log_level,
            structlog.contextvars.merge_contextvars,
            _add_task,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderer(json=json),
        ],
    )


def _renderer(*, json: bool) -> list[Processor]:
    if json:
        # No local variables in tracebacks: they hold passwords and personal data.
        as_data = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        tracebacks = structlog.processors.ExceptionRenderer(as_data)
        return [tracebacks, _redact, structlog.processors.JSONRenderer()]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(),
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )
    as_text = structlog.processors.ExceptionRenderer(lambda raised: describe_traceback(raised[1]))
    return [as_text, _redact, _escape, console]


def _inject_log_context() -> dict[str, str]:
    bound = structlog.contextvars.get_contextvars()
    return {f"log.{name}": str(value) for name, value in bound.items()}


def _extract_log_context(saved: Mapping[str, str]) -> None:
    bound = {name[4:]: text for name, text in saved.items() if name.startswith("log.")}
    structlog.contextvars.bind_contextvars(**bound)


LOG_CONTEXT = Propagator(_inject_log_context, _extract_log_context)
"""Lets what is bound for the log, the request id above all, survive with a durable task."""


def request_id_of(context: str) -> str | None:
    """Return the request id in the stored context of a task."""
    try:
        request_id = json.loads(context).get("log.request_id")
    except (ValueError, AttributeError):
        return None
    return str(request_id)[:64] if request_id else None


def _tidy(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop what others leave on a record for their own output.

    Make the traceback of a failed start or end an `exception`: uvicorn logs both as text. Leave out
    the query of a WebSocket.
    """
    for name in ("color_message", "message", "asctime"):
        event.pop(name, None)
    if event["_record"].name != "uvicorn.error":
        return event
    text = event["event"]
    if text.startswith("Traceback "):
        told = {"event": "the service failed at its start or end", "exception": text.rstrip()}
        return {**event, **told}
    return {**event, "event": _QUERY.sub(r"\1", text)}


def _add_task(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Name the task that logs the line."""
    if task := current_task():
        return {"task": task.name, "task_id": task.id, **event}
    return event


def _redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Hide the secrets in the texts of exceptions, wherever they are in a line about trouble.

    Lines at INFO hold what our own code says, and are most of all lines.
    """
    if event.get("level") in _TROUBLE or "exception" in event:
        return {name: _redacted(value) for name, value in event.items()}
    return event


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _redacted(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    return redact(value if isinstance(value, str) else repr(value), _TEXT_LENGTH)


def _escape(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape what a terminal would obey; the lines of a traceback stay lines."""
    return {
        _escaped(name): _escaped(value, keep="\n\t" if name == "exception" else "")
        for name, value in event.items()
    }


def _escaped(value: Any, keep: str = "") -> Any:
    """Return a text with escapes, and any other value as it is if its `repr` needs none."""
    text = value if isinstance(value, str) else repr(value)
    if text.isprintable():
        return value
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)
