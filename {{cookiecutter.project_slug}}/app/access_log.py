"""The line in the log for every request, instead of uvicorn's own."""

import logging
import sys
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from json import JSONEncoder
from typing import Any

from structlog.contextvars import get_contextvars

from app.logs import escape_controls
from app.middleware import Answered
from app.settings import LogLevel

_ENCODER = JSONEncoder(default=repr)
_MAX_PATH = 1000
"""Characters: a stranger chooses the path, and has no say in how large the log becomes."""
_IN_THE_HEAD = frozenset({"timestamp", "level", "logger", "event"})
_IN_THE_EVENT = frozenset({"method", "path", "route", "status", "duration_ms"})


class AccessLog:
    """Logs `POST /orders 201 12.3 ms`, with the parts as fields if it is JSON.

    Of the routes in `polled`, which are asked all the time, it logs errors only, or all at DEBUG.
    The lines have the form of all others, and take no way but the shortest: on the way of the
    others, a line costs as much as a request.
    """

    def __init__(self, level: LogLevel, *, json: bool, polled: Collection[str] = ()) -> None:
        self._render = _ENCODER.encode if json else _as_text
        self._is_wanted = _silence_uvicorn() and logging.getLevelName(level) <= logging.INFO
        self._polled = frozenset(() if level is LogLevel.DEBUG else polled)

    def observe(self, answered: Answered) -> None:
        """Log an answer."""
        if not self._is_wanted:
            return
        if answered.route in self._polled and answered.status < HTTPStatus.BAD_REQUEST:
            return
        path = answered.path[:_MAX_PATH]
        milliseconds = round(answered.seconds * 1000, 2)
        event = {
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "level": "info",
            "logger": "app.access",
            "event": f"{answered.method} {path} {answered.status} {milliseconds} ms",
            **get_contextvars(),
            "method": answered.method,
            "path": path,
            "route": answered.route,
            "status": answered.status,
            "duration_ms": milliseconds,
        }
        if answered.caller is not None:
            event["caller"] = answered.caller
        # As in `logging`: a full disk, or nobody who reads, is no error of the request.
        with suppress(OSError, ValueError):
            sys.stdout.write(self._render(event) + "\n")
            sys.stdout.flush()


def _silence_uvicorn() -> bool:
    """Let uvicorn log no requests; return whether it would have (see its --no-access-log)."""
    log = logging.getLogger("uvicorn.access")
    is_wanted = log.disabled or log.hasHandlers()  # disabled: this is not the first call
    log.handlers.clear()
    log.propagate = False
    log.disabled = is_wanted
    return is_wanted


def _as_text(event: dict[str, Any]) -> str:
    head = "{timestamp} [{level:9}] {event} [{logger}]".format_map(event)
    others = event.keys() - _IN_THE_HEAD - _IN_THE_EVENT
    return escape_controls(" ".join([head, *(f"{name}={event[name]}" for name in sorted(others))]))
