"""Structured logs: one line an event, with request and task id; JSON in production."""

import logging
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from app.settings import LogLevel
from app.tasks import Propagator, current_task, describe_traceback, redact

_HANDLER_NAME = "app"
_TEXT_LENGTH = 10_000
"""Characters of a text that are logged of what went wrong."""
_OF_LINES = frozenset({"exception", "stack"})
_TROUBLE = frozenset({"warning", "error", "critical"})


def configure_logging(level: LogLevel, *, json: bool) -> None:
    """Send what structlog and the standard library log to stdout, in one format.

    Calling it again replaces the configuration.
    """
    context: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    described = [
        *context,
        _add_task,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *described,
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # tests configure more than once
    )
    renderer = _renderer(json=json)
    formatter = ProcessorFormatter(
        foreign_pre_chain=[*described, structlog.stdlib.ExtraAdder(), _drop_leftovers],
        processors=[ProcessorFormatter.remove_processors_meta, *renderer],
    )
    _handle("", formatter)
    plain = not json and not sys.stdout.isatty()
    _handle("uvicorn.access", AccessFormatter([*context, *([_plain] if plain else renderer)]))
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger().setLevel(level)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it says a lot at every start


class AccessFormatter(logging.Formatter):
    """Gives uvicorn's access lines their fields, by the shortest way: there is one a request."""

    def __init__(self, processors: list[Processor]) -> None:
        super().__init__()
        self._processors = processors

    def format(self, record: logging.LogRecord) -> str:
        """Render one line."""
        client, method, path, _, status = record.args or ()
        event = {
            "event": "request",
            "level": "info",
            "logger": record.name,
            "client": client,
            "method": method,
            "path": path,
            "status": int(str(status)),
        }
        line: object = event
        for processor in self._processors:
            line = processor(None, "info", line)  # type: ignore[arg-type]  # the last one renders
        return str(line)


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


def _handle(name: str, formatter: logging.Formatter) -> None:
    """Give a logger our handler, in the place of the one it has from an earlier call or server."""
    handler = logging.StreamHandler(sys.stdout)
    handler.name = _HANDLER_NAME
    handler.setFormatter(formatter)
    logger = logging.getLogger(name)
    if logger is logging.getLogger():  # others, a test runner's for example, stay
        logger.handlers = [h for h in logger.handlers if h.name != _HANDLER_NAME]
    else:
        logger.handlers.clear()
    logger.addHandler(handler)
    logger.propagate = False


def _renderer(*, json: bool) -> list[Processor]:
    if json:
        # No local variables in tracebacks: they hold passwords and personal data.
        as_data = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        tracebacks = structlog.processors.ExceptionRenderer(as_data)
        return [tracebacks, _redact, structlog.processors.JSONRenderer()]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(),
        sort_keys=False,  # sorting takes as long as all the rest
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


@lru_cache(maxsize=1000)
def _shown(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def _plain(_: WrappedLogger, __: str, event: EventDict) -> str:
    """Render an access line like the console renderer, without colours, at a third of its cost."""
    head = f"{event.pop('timestamp')} [{event.pop('level'):<9}] {event.pop('event'):<30}"
    logger = event.pop("logger")
    rest = " ".join(f"{name}={_quoted(str(value))}" for name, value in event.items())
    return f"{head} [{logger}] {rest}"


def _quoted(value: str) -> str:
    return value if value.isprintable() and " " not in value else repr(value)


def _drop_leftovers(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop what uvicorn and other handlers leave on a record for their own output."""
    for name in ("color_message", "message", "asctime"):
        event.pop(name, None)
    return event
