"""Structured logs: one line per event, with request and task id; JSON in production."""

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
"""Characters that are logged of each text in a warning or error; a traceback has no more."""
_REDACTED_LEVELS = frozenset({"warning", "error", "critical"})
_SOCKET = re.compile(r'( - "WebSocket [^?]{0,1000}).*(?=")')
"""uvicorn's line about a WebSocket, and the start of its path. The rest would let callers flood the
log, and the query may contain a token, as browsers cannot set headers."""


class _Handler(logging.StreamHandler[TextIO]):
    """Drops lines that cannot be written; Python would print forty lines on stderr for each."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as Python calls it
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


_HANDLER = _Handler()


def configure_logging(level: str, *, json: bool) -> None:
    """Send the logs of structlog and the standard library to stdout, in one format.

    Calling it again replaces the configuration.
    """
    structlog.configure(
        processors=[ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    if isinstance(sys.stdout, TextIOWrapper):
        # It is not UTF-8 everywhere: a line with a character that it cannot encode would be lost.
        sys.stdout.reconfigure(errors="backslashreplace")
    _HANDLER.stream = sys.stdout
    _HANDLER.setFormatter(_formatter(json=json))
    root = logging.getLogger()
    root.addHandler(_HANDLER)  # other handlers stay, a test runner's for example
    # DEBUG lines of libraries would bury those of the service.
    root.setLevel(max(logging.INFO, logging.getLevelName(level)))
    logging.getLogger("app").setLevel(level)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it logs a lot at every start
    server = logging.getLogger("uvicorn")
    server.handlers.clear()
    server.propagate = True
    _take_over_access_log()


def _take_over_access_log() -> None:
    """Log requests here and not in uvicorn, unless uvicorn was told to log none."""
    uvicorn_log = logging.getLogger("uvicorn.access")
    if not uvicorn_log.disabled:  # this is the first call
        logging.getLogger("app.access").disabled = not uvicorn_log.hasHandlers()
    uvicorn_log.handlers.clear()
    uvicorn_log.propagate = False
    uvicorn_log.disabled = True


def _formatter(*, json: bool) -> logging.Formatter:
    return ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), _clean_foreign],
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
        # No local variables in tracebacks: they may contain passwords and personal data.
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
"""Stores the values bound for the log, above all the request id, with a durable task."""


def request_id_of(context: str) -> str | None:
    """Return the request id in the stored context of a task."""
    try:
        request_id = json.loads(context).get("log.request_id")
    except (ValueError, AttributeError):
        return None
    return str(request_id)[:64] if request_id else None


def _clean_foreign(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop fields that libraries add for formatters of their own.

    From uvicorn's lines, also drop the query of a WebSocket, and make the traceback of a failed
    start or shutdown, which it logs as text, an `exception`.
    """
    for name in ("color_message", "message", "asctime"):
        event.pop(name, None)
    if event["_record"].name != "uvicorn.error":
        return event
    text = event["event"]
    if text.startswith("Traceback "):
        failure = "the service failed to start or to shut down"
        return {**event, "event": failure, "exception": text.rstrip()}
    return {**event, "event": _SOCKET.sub(r"\1", text)}


def _add_task(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add name and id of the task that logs the line."""
    if task := current_task():
        return {"task": task.name, "task_id": task.id, **event}
    return event


def _redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Redact secrets in warnings and errors, whose fields may all contain texts of exceptions.

    Other lines, which are most of them, contain only what our own code logs.
    """
    if event.get("level") in _REDACTED_LEVELS or "exception" in event:
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
    """Escape control characters that a terminal would obey, but not the line ends of tracebacks."""
    return {
        _escaped(name): _escaped(value, keep="\n\t" if name == "exception" else "")
        for name, value in event.items()
    }


def _escaped(value: Any, keep: str = "") -> Any:
    """Return the value as it is if all of it is printable, and otherwise as a text with escapes."""
    text = value if isinstance(value, str) else repr(value)
    if text.isprintable():
        return value
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)
