"""The line in the log for every request, instead of uvicorn's own."""

import logging
import sys
from json import JSONEncoder

import structlog
from structlog.typing import EventDict, WrappedLogger

from app.logging import escape_controls
from app.middleware import Answered
from app.settings import LogLevel

_ENCODER = JSONEncoder(default=repr)
_IN_THE_EVENT = frozenset({"method", "path", "route", "status", "duration_ms"})


class AccessLog:
    """Logs `POST /orders 201 12 ms`, with the parts as fields if it is JSON.

    It takes the shortest way to stdout, since a line of the log can cost more than a request.
    """

    def __init__(self, level: LogLevel, *, json: bool) -> None:
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(sys.stdout),
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _render_json if json else _render_text,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            cache_logger_on_first_use=True,
        ).bind(logger="app.access")
        self._is_wanted = _silence_uvicorn()

    def observe(self, answered: Answered) -> None:
        """Log an answer."""
        if not self._is_wanted:
            return
        milliseconds = round(answered.seconds * 1000, 2)
        self._log.info(
            f"{answered.method} {answered.path} {answered.status} {milliseconds} ms",
            method=answered.method,
            path=answered.path,
            route=answered.route,
            status=answered.status,
            duration_ms=milliseconds,
            **({"caller": answered.caller} if answered.caller else {}),
        )


def _silence_uvicorn() -> bool:
    """Let uvicorn log no requests; return whether it would have (see its --no-access-log)."""
    log = logging.getLogger("uvicorn.access")
    is_wanted = log.disabled or log.hasHandlers()  # disabled: this is not the first call
    log.handlers.clear()
    log.propagate = False
    log.disabled = is_wanted
    return is_wanted


def _render_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return _ENCODER.encode(event)


def _render_text(_: WrappedLogger, __: str, event: EventDict) -> str:
    """Return the line for a terminal, as the others have it but for colors."""
    head = "{timestamp} [{level:9}] {event} [{logger}]".format_map(event)
    shown = {"timestamp", "level", "event", "logger", *_IN_THE_EVENT}
    return escape_controls(
        " ".join([head, *(f"{name}={event[name]}" for name in event if name not in shown)])
    )
