"""The tasks that send mail: with retries, limits and metrics, after the response."""

from app.tasks import Priority, Retry, task

from .message import EmailMessage, TransientEmailError
from .senders import current_sender

_TIMEOUT = 90.0
"""Seconds. More than a sender may need (60 and a goodbye): it ends by itself and says why."""
_CONNECTIONS = 5
"""Messages on their way at once; many servers refuse more from one client."""
_RETRY = Retry(attempts=10, on=(TransientEmailError,), delay=30.0, max_delay=600.0)
"""Half an hour, give or take ten minutes: a mail server that is away, or one that refuses the first
mails of a sender for some minutes (greylisting)."""


@task(timeout=_TIMEOUT, max_concurrency=_CONNECTIONS, retry=_RETRY, durable=True)
async def send_email(message: EmailMessage) -> None:
    """Send a message through the current sender.

    Add it where there is a session: the mail is sent if its transaction commits, even if the
    process dies in between. A crash at the wrong moment sends it twice, with one Message-ID.
    """
    await current_sender.get().send(message)


@task(timeout=_TIMEOUT, max_concurrency=1, retry=_RETRY, priority=Priority.HIGH)
async def send_alert(message: EmailMessage) -> None:
    """Send a message whose own failure raises no alert, or one would follow the other for ever."""
    await current_sender.get().send(message)
