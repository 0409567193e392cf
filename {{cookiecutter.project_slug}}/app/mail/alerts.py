"""Mails the operators when a task has failed for good, without flooding them."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import structlog

from app.tasks import (
    RunnerClosed,
    TaskInfo,
    TaskNotAccepted,
    TaskObserver,
    current_runner,
    describe_error,
    describe_traceback,
)

from .message import EmailMessage, render_email
from .settings import AlertSettings
from .tasks import send_alert

_TEMPLATES = Path(__file__).parent / "templates"

_sending: set[asyncio.Task[None]] = set()
"""Alerts sent without the runner; asyncio itself keeps no strong reference to its tasks."""


class FailureAlerts(TaskObserver):
    """Sends one mail per task and exception type in `settings.window` seconds.

    The next mail says how many failures were not mailed. Without `settings.email_to` nothing is
    sent. `clock` returns seconds.
    """

    def __init__(
        self, settings: AlertSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._windows: dict[tuple[str, str], float] = {}  # when each one ends
        self._suppressed: Counter[tuple[str, str]] = Counter()

    def failed(self, info: TaskInfo) -> None:
        """Mail a failure after which the task is not retried."""
        if info.name == send_alert.name or not self._settings.email_to:
            return
        error = info.error or TimeoutError(f"{info.name} timed out")
        key = (info.name, f"{type(error).__module__}.{type(error).__qualname__}")
        now = self._clock()
        if now < self._windows.get(key, 0.0):
            self._suppressed[key] += 1
            return
        self._windows[key] = now + self._settings.window
        self._mail(info, error, self._suppressed.pop(key, 0))

    timed_out = failed

    def _mail(self, info: TaskInfo, error: BaseException, suppressed: int) -> None:
        context = {
            "task": info,
            "request_id": structlog.contextvars.get_contextvars().get("request_id"),
            "type": type(error).__qualname__,
            "error": describe_error(error),
            "traceback": describe_traceback(error),
            "suppressed": suppressed,
            "window": self._settings.window,
        }
        for recipient in self._settings.email_to:
            _submit(render_email(_TEMPLATES, "task_failed", to=recipient, context=context))


def _submit(message: EmailMessage) -> None:
    try:
        current_runner().submit(send_alert, message)
    except (TaskNotAccepted, RunnerClosed):  # the queue is full, for example: send it from here
        sending = asyncio.create_task(send_alert(message))
        _sending.add(sending)
        sending.add_done_callback(_sending.discard)
