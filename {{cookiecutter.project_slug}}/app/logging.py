"""Structured logs: one line an event, with request and task id; JSON in production."""

import logging
import sys

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from app.settings import LogLevel
from app.tasks import TaskInfo, TaskObserver

_HANDLER_NAME = "app"


def configure_logging(level: LogLevel, *, json: bool) -> None:
    """Send what structlog and the standard library log to stdout, in one format.

    Calling it again replaces the configuration.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # tests configure more than once
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.name = _HANDLER_NAME
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _server_fields],
            pass_foreign_args=True,
            processors=[ProcessorFormatter.remove_processors_meta, *_renderer(json=json)],
        )
    )
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if h.name != _HANDLER_NAME] + [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it says a lot at every start


class TaskLogContext(TaskObserver):
    """Puts the task's id on every line that is logged while it runs."""

    def started(self, info: TaskInfo) -> None:
        """Bind in the task's own context, which ends with it."""
        structlog.contextvars.bind_contextvars(task=info.name, task_id=info.id)


def _renderer(*, json: bool) -> list[Processor]:
    if json:
        # No local variables in tracebacks: they hold passwords and personal data.
        tracebacks = structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
        return [tracebacks, structlog.processors.JSONRenderer()]
    return [
        _one_line,
        structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _server_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Turn uvicorn's access line into fields, and drop what it logs for its own colours."""
    args = event.pop("positional_args", None)
    event.pop("color_message", None)
    if event["logger"] == "uvicorn.access" and isinstance(args, tuple):
        event["event"] = "request"
        event["client"], event["method"], event["path"], _, status = args
        event["status"] = int(status)
    return event


def _one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep a line break in a message from forging a line; the console renderer quotes the rest."""
    event["event"] = str(event["event"]).replace("\r", "\\r").replace("\n", "\\n")
    return event
