"""Mails the operators when a task has failed for good, without flooding them."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.tasks import (
    QueueFull,
    RunnerClosed,
    TaskInfo,
    TaskNotAccepted,
    TaskObserver,
    current_runner,
    describe_error,
    describe_traceback,
)

from .message import EmailMessage
from .settings import AlertSettings
from .tasks import send_alert
from .templates import render_email

logger = structlog.get_logger(__name__)

TEMPLATES = Path(__file__).parent / "templates"

_sending: set[asyncio.Task[None]] = set()
"""Alerts on their way from here, since asyncio itself forgets what it runs."""


@dataclass(slots=True)
class _Window:
    closes_at: float
    suppressed: int = 0


class FailureAlerts(TaskObserver):
    """Sends one mail for each task and exception type in `settings.window` seconds.

    The next such mail says how many failures were not mailed. Without `settings.email_to`
    nothing is sent. `clock` gives seconds.
    """

    def __init__(
        self, settings: AlertSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}  # by task and exception type

    def failed(self, info: TaskInfo) -> None:
        """Tell of an exception that will not be followed by a retry."""
        self._report(info)

    def timed_out(self, info: TaskInfo) -> None:
        """Tell of a task that took too long."""
        self._report(info)

    def _report(self, info: TaskInfo) -> None:
        if info.name == send_alert.name or not self._settings.email_to:
            return
        error = info.error or TimeoutError(f"{info.name} timed out")
        key = (info.name, f"{type(error).__module__}.{type(error).__qualname__}")
        now = self._clock()
        window = self._windows.setdefault(key, _Window(closes_at=now))
        if now >= window.closes_at and _submit(self._message(info, error, window.suppressed)):
            window.closes_at, window.suppressed = now + self._settings.window, 0
        else:
            window.suppressed += 1  # nobody was told: the next mail counts it

    def _message(self, info: TaskInfo, error: BaseException, suppressed: int) -> EmailMessage:
        context = {
            "task": info.name,
            "task_id": info.id,
            "attempt": info.attempt,
            "outcome": info.state,
            "request_id": structlog.contextvars.get_contextvars().get("request_id"),
            "type": type(error).__qualname__,
            "error": describe_error(error),
            "traceback": "\n".join(describe_traceback(error)),
            "suppressed": suppressed,
            "window": self._settings.window,
        }
        to = self._settings.email_to
        return render_email(TEMPLATES, "task_failed", to=to, context=context)


def _submit(message: EmailMessage) -> bool:
    try:
        current_runner().submit(send_alert, message)
    except (QueueFull, RunnerClosed) as error:
        logger.error("failure alert not sent", reason=str(error), subject=message.subject)
        return False
    except TaskNotAccepted:  # the broker is away: this process can still send
        sending = asyncio.get_running_loop().create_task(send_alert(message))
        _sending.add(sending)
        sending.add_done_callback(_sent)
    return True


def _sent(sending: asyncio.Task[None]) -> None:
    _sending.discard(sending)
    if not sending.cancelled() and (error := sending.exception()) is not None:
        logger.error("failure alert not sent", reason=describe_error(error))
