"""The line in the log for every request, instead of uvicorn's own."""

import logging
import sys
from collections.abc import Collection
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from app.logs import line_processors
from app.middleware import Answered

_MAX_PATH = 1000
"""Characters: a stranger chooses the path, and has no say in how large the log becomes."""


class AccessLog:
    """Logs `POST /orders 201 12.3 ms`, with the parts as fields if it is JSON.

    Of the routes in `polled`, which are asked all the time, it logs errors only, or all at DEBUG.
    """

    def __init__(self, level: str, *, json: bool, polled: Collection[str] = ()) -> None:
        self._json = json
        self._processors = line_processors(json=json)
        self._is_wanted = _silence_uvicorn() and logging.getLevelName(level) <= logging.INFO
        self._polled = frozenset(() if level == "DEBUG" else polled)

    def observe(self, answered: Answered) -> None:
        """Log an answer."""
        if not self._is_wanted:
            return
        if answered.route in self._polled and answered.status < HTTPStatus.BAD_REQUEST:
            return
        path = answered.path[:_MAX_PATH]
        fields = {
            "method": answered.method,
            "path": path,
            "route": answered.route,
            "status": answered.status,
            "duration_ms": round(answered.seconds * 1000, 2),
        }
        text = "{method} {path} {status} {duration_ms} ms".format_map(fields)
        line = {"event": text, "logger": "app.access", **(fields if self._json else {})}
        self._write(line if answered.caller is None else {**line, "caller": answered.caller})

    def _write(self, line: Any) -> None:
        # Through a logger of the standard library, a line costs four times as much.
        for process in self._processors:
            line = process(None, "info", line)
        # As in `logging`: a full disk, or nobody who reads, is no error of the request.
        with suppress(OSError, ValueError):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def _silence_uvicorn() -> bool:
    """Let uvicorn log no requests; return whether it would have (see its --no-access-log)."""
    log = logging.getLogger("uvicorn.access")
    is_wanted = log.disabled or log.hasHandlers()  # disabled: this is not the first call
    log.handlers.clear()
    log.propagate = False
    log.disabled = is_wanted
    return is_wanted
