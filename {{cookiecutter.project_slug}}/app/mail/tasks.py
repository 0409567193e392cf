"""The tasks that send mail, after the response, with retries, limits and metrics."""

from app.tasks import Priority, Retry, task

from .message import EmailMessage, TransientEmailError
from .senders import current_sender

_TIMEOUT = 90.0
"""Seconds; more than the sender's own limit (60, and QUIT), whose error says why it failed."""
_CONNECTIONS = 5
"""Messages sent at the same time; many servers refuse more connections from one client."""
_RETRY = Retry(attempts=10, on=(TransientEmailError,), delay=30.0, max_delay=600.0)
"""Half an hour, give or take ten minutes, for a mail server that is down, or that refuses the first
mails of an unknown sender for some minutes (greylisting)."""


@task(timeout=_TIMEOUT, max_concurrency=_CONNECTIONS, retry=_RETRY, durable=True)
async def send_email(message: EmailMessage) -> None:
    """Send a message through the current sender.

    Add it inside a session: it is sent if the transaction commits, even if the process then dies.
    A crash right after the mail server's answer sends it twice, with the same Message-ID.
    """
    await current_sender.get().send(message)


@task(timeout=_TIMEOUT, max_concurrency=1, retry=_RETRY, priority=Priority.HIGH)
async def send_alert(message: EmailMessage) -> None:
    """Send an alert. Its own failure causes no alert, or alerts would cause alerts for ever."""
    await current_sender.get().send(message)
