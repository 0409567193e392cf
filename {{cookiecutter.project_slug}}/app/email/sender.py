"""The one thing a backend has to do, and the choice of the backend."""

from contextvars import ContextVar
from typing import Protocol

from .address import parse_sender
from .backends.console import ConsoleSender
from .backends.file import FileSender
from .backends.memory import MemorySender
from .message import EmailMessage
from .settings import EmailSettings


class EmailSender(Protocol):
    """Anything that can send a message."""

    async def send(self, message: EmailMessage) -> None:
        """Return when every recipient's server has the message.

        Raises TransientEmailError when the same call may work later, PartialRefusalError when it
        may not be repeated because somebody has the message, and PermanentEmailError when it
        would fail again.
        """


current_sender: ContextVar[EmailSender] = ContextVar("current_sender")
"""The sender that mail tasks use; set it before the task runner is started."""


def create_sender(settings: EmailSettings) -> EmailSender:
    """Return the sender that `settings.backend` names."""
    sender = parse_sender(settings.from_)
    if settings.backend == "smtp":
        # With its library only where it is used: memory and time of every other start.
        from .backends.smtp import SmtpSender  # noqa: PLC0415

        return SmtpSender(sender, settings)
    if settings.backend == "file":
        return FileSender(sender, settings.file_dir)
    if settings.backend == "memory":
        return MemorySender()
    return ConsoleSender(sender)
