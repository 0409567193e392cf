"""The tasks that send mail: with retries, limits and metrics, after the response."""

from collections.abc import Coroutine
from typing import Any

import structlog

from app.db import task_session
from app.tasks import Priority, Retry, Task, current_runner, task

from .errors import PartialRefusalError, TransientEmailError
from .message import EmailMessage
from .senders import current_sender

logger = structlog.get_logger(__name__)

_MailTask = Task[[EmailMessage], Coroutine[Any, Any, None]]

_TIMEOUT = 90.0
"""Seconds. More than a sender may need (60 and a goodbye): it ends by itself and says why."""
_CONNECTIONS = 5
"""Messages on their way at once; many servers refuse more from one client."""
_RETRY = Retry(attempts=5, on=(TransientEmailError,), delay=30.0, max_delay=600.0)
"""Outlives the restart of a mail server."""
_DEFERRED = 300.0
"""Seconds until recipients that the server has put off are tried again (greylisting)."""


@task(
    name="send_email",
    timeout=_TIMEOUT,
    max_concurrency=_CONNECTIONS,
    retry=_RETRY,
    durable=True,
)
async def send_email(message: EmailMessage) -> None:
    """Send a message through the current sender.

    Add it where there is a session: the mail is sent if its transaction commits, even if the
    process dies in between. A crash at the wrong moment sends it twice, with one Message-ID.
    """
    await _send(message, send_email)


@task(name="send_alert", timeout=_TIMEOUT, max_concurrency=1, retry=_RETRY, priority=Priority.HIGH)
async def send_alert(message: EmailMessage) -> None:
    """Send a message whose own failure raises no alert, or one would follow the other for ever."""
    await _send(message, send_alert)


async def _send(message: EmailMessage, again: _MailTask) -> None:
    try:
        await current_sender.get().send(message)
    except PartialRefusalError as error:
        # A retry of this task would send the message again to those who have it. Another task
        # sends it to the rest; there are fewer of them each time, so this comes to an end.
        if error.deferred:
            logger.warning("mail deferred for some recipients", reason=error.reason)
            rest = message.only_to(error.deferred)
            async with task_session():  # a durable task is a row of a transaction
                current_runner().options(delay=_DEFERRED).submit(again, rest)
        if error.refused:
            raise
