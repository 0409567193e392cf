"""Structured logs: one line an event, with request and task id; JSON in production."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from app.settings import LogLevel
from app.tasks import Propagator, current_task, describe_traceback, redact

_HANDLER_NAME = "app"
_ACCESS_LOGGER = "uvicorn.access"
_TEXT_LENGTH = 10_000
"""Characters of a text that are logged of what went wrong."""
_OF_LINES = frozenset({"exception", "stack"})
_TROUBLE = frozenset({"warning", "error", "critical"})


def configure_logging(level: LogLevel, *, json: bool) -> None:
    """Send what structlog and the standard library log to stdout, in one format.

    Calling it again replaces the configuration.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_described(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # tests configure more than once
    )
    _send_all_to_stdout(_formatter(json=json))
    logging.getLogger().setLevel(level)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it says a lot at every start


def _described() -> list[Processor]:
    """Add what every line says, whichever library logs it."""
    return [
        structlog.contextvars.merge_contextvars,
        _add_task,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _formatter(*, json: bool) -> logging.Formatter:
    foreign: list[Processor] = [
        *_described(),
        structlog.stdlib.ExtraAdder(),
        _drop_leftovers,
        _add_access_fields,
    ]
    return ProcessorFormatter(
        foreign_pre_chain=foreign,
        pass_foreign_args=True,
        processors=[ProcessorFormatter.remove_processors_meta, *_renderer(json=json)],
    )


def _inject_log_context() -> dict[str, str]:
    return {name: str(value) for name, value in structlog.contextvars.get_contextvars().items()}


def _extract_log_context(saved: Mapping[str, str]) -> None:
    structlog.contextvars.bind_contextvars(**saved)


LOG_CONTEXT = Propagator(_inject_log_context, _extract_log_context)
"""Lets what is bound for the log, the request id above all, survive with a durable task."""


def _add_task(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Name the task that logs the line."""
    task = current_task()
    if task is not None:
        event.setdefault("task", task.name)
        event.setdefault("task_id", task.id)
    return event


def _add_access_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make fields of what uvicorn says of a request."""
    arguments = event.pop("positional_args", ())
    if event["logger"] == _ACCESS_LOGGER:
        client, method, path, _http_version, status = arguments
        event.update(event="request", client=client, method=method, path=path, status=status)
    return event


def _send_all_to_stdout(formatter: logging.Formatter) -> None:
    """Write what any logger logs, uvicorn's too, by one handler: ours, not one beside another."""
    handler = logging.StreamHandler(sys.stdout)
    handler.name = _HANDLER_NAME
    handler.setFormatter(formatter)
    root = logging.getLogger()
    # Those of others stay, a test runner's for example.
    root.handlers = [*(one for one in root.handlers if one.name != _HANDLER_NAME), handler]
    for name in ("uvicorn", "uvicorn.error", _ACCESS_LOGGER):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


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
    return [structlog.processors.ExceptionRenderer(_traceback), _redact, _escape, console]


def _traceback(exc_info: ExcInfo) -> str:
    return "\n".join(describe_traceback(exc_info[1]))


def _redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Hide the secrets that the texts of exceptions hold, wherever one went into the line.

    Other lines say what the code wants to say, and most of all lines are such.
    """
    if event.get("level") in _TROUBLE or "exception" in event:
        return {name: _redacted(value) for name, value in event.items()}
    return event


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value, _TEXT_LENGTH)
    if isinstance(value, dict):
        # The frames of a traceback name files and functions, and there are many of them.
        return {n: item if n == "frames" else _redacted(item) for n, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    return redact(repr(value), _TEXT_LENGTH)


def _escape(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape what a terminal would obey; the lines of a traceback stay lines."""
    return {
        _escaped(name): _escaped(value, keep="\n\t" if name in _OF_LINES else "")
        for name, value in event.items()
    }


def _escaped(value: Any, keep: str = "") -> Any:
    """Return a text with escapes, and any other value as it is if its `repr` needs none."""
    text = value if isinstance(value, str) else repr(value)
    if text.isprintable():
        return value
    return "".join(c if c in keep else _shown(c) for c in text)


def _shown(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def _drop_leftovers(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop what uvicorn and other handlers leave on a record for their own output."""
    for name in ("color_message", "message", "asctime"):
        event.pop(name, None)
    return event
