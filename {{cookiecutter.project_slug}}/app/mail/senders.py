"""What a sender has to do, those that need no server, and the choice among all."""

import asyncio
from contextvars import ContextVar
from datetime import UTC, datetime
from email.headerregistry import Address
from email.policy import SMTPUTF8
from io import BytesIO
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from app.files import write_private

from .message import EmailMessage, parse_sender, printable
from .settings import EmailSettings
from .smtp import SmtpSender


class EmailSender(Protocol):
    """Anything that can send a message."""

    async def send(self, message: EmailMessage) -> None:
        """Return when the recipient's server has the message.

        Raises TransientEmailError when the same call may work later, else PermanentEmailError.
        """


current_sender: ContextVar[EmailSender] = ContextVar("current_sender")
"""The sender that mail tasks use; set it before the task runner is started."""


class ConsoleSender:
    """For development: writes messages to standard output, readable."""

    def __init__(self, sender: Address) -> None:
        self._sender = sender

    async def send(self, message: EmailMessage) -> None:
        """Write the message in one piece, so that two of them do not mix."""
        # The text may hold what a stranger wrote: no escape sequences for the terminal.
        text = printable(message.text).rstrip()
        head = f"From: {self._sender}\nTo: {message.to}\nSubject: {message.subject}"
        ruler = "-" * 72
        print(f"{ruler}\n{head}\n\n{text}\n{ruler}", flush=True)  # noqa: T201 - what it is for


class FileSender:
    """For development: writes messages as .eml files into a folder; a mail program opens them."""

    def __init__(self, sender: Address, directory: Path) -> None:
        self._sender = sender
        self._directory = directory

    async def send(self, message: EmailMessage) -> None:
        """Write the message; raises OSError when the disk is full or read-only."""
        content = message.to_mime(self._sender).as_bytes(policy=SMTPUTF8)
        # The same message can be sent twice in the same microsecond.
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{message.message_id}-{uuid4().hex[:8]}.eml"
        await asyncio.to_thread(write_private, self._directory / name, BytesIO(content))


class MemorySender:
    """For tests: keeps every message in `sent`, the oldest first."""

    def __init__(self) -> None:
        self.sent: list[EmailMessage] = []

    async def send(self, message: EmailMessage) -> None:
        """Append the message to `sent`."""
        self.sent.append(message)


def create_sender(settings: EmailSettings) -> EmailSender:
    """Return the sender that `settings.backend` names."""
    sender = parse_sender(settings.from_)
    if settings.backend == "smtp":
        return SmtpSender(sender, settings)
    if settings.backend == "file":
        return FileSender(sender, settings.file_dir)
    return MemorySender() if settings.backend == "memory" else ConsoleSender(sender)
