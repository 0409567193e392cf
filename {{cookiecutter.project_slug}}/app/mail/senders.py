"""What a sender has to do, those that there are, and the choice among them."""

import asyncio
import ssl
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from email.headerregistry import Address
from email.policy import SMTPUTF8
from pathlib import Path
from typing import Protocol, cast
from uuid import uuid4

from aiosmtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException

from app.files import make_folder, open_private

from .message import (
    EmailMessage,
    PermanentEmailError,
    TransientEmailError,
    one_line,
    parse_sender,
    printable,
)
from .settings import EmailSettings

_PERMANENT = 500
"""Codes below say "try again later" (4xx) or make no sense; the rest say "never"."""


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
        await asyncio.to_thread(_write, self._directory / name, content)


class MemorySender:
    """For tests: keeps every message in `sent`, the oldest first."""

    def __init__(self) -> None:
        self.sent: list[EmailMessage] = []

    async def send(self, message: EmailMessage) -> None:
        """Append the message to `sent`."""
        self.sent.append(message)


class SmtpSender:
    """For production: hands messages to the server of the settings, one for each connection.

    Certificates are checked against those of the system, or of the variable SSL_CERT_FILE.
    """

    def __init__(self, sender: Address, settings: EmailSettings) -> None:
        self._sender = sender
        self._settings = settings

    async def send(self, message: EmailMessage) -> None:
        """Send the message within `settings.timeout` seconds; raises as `EmailSender.send`."""
        client = self._client()
        mime, sender = message.to_mime(self._sender), self._sender.addr_spec
        try:
            async with asyncio.timeout(self._settings.timeout):
                await client.connect()
                await client.send_message(mime, sender=sender, recipients=[message.to])
            # The server has the message. Nothing may look like a failure from here on, or a
            # retry would send it again.
            with suppress(SMTPException, OSError):
                await client.quit(timeout=2.0)
        except (SMTPException, OSError) as error:  # TimeoutError is an OSError
            raise self._email_error(error) from error
        finally:
            # close() would wait for a stalled server to read what it was sent, perhaps for ever.
            if client.transport is not None:
                cast("asyncio.WriteTransport", client.transport).abort()

    def _client(self) -> SMTP:
        settings = self._settings
        password = settings.smtp_password
        return SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_user,
            password=password.get_secret_value() if password else None,
            # The default is the name of this machine: looked up in DNS, shown to the recipients.
            local_hostname=self._sender.domain,
            use_tls=settings.tls == "tls",
            # None would mean clear text if the server, or somebody on the way, offers no TLS.
            start_tls=settings.tls == "starttls",
        )

    def _email_error(self, error: Exception) -> Exception:
        if isinstance(error, SMTPRecipientsRefused):
            error = error.recipients[0]
        if isinstance(error, SMTPResponseException):
            reason, is_permanent = f"{error.code} {error.message}", error.code >= _PERMANENT
        else:
            reason, is_permanent = str(error), _is_permanent(error)
        reason = reason or f"not done within {self._settings.timeout:g} s"
        kind = PermanentEmailError if is_permanent else TransientEmailError
        return kind(one_line(f"{self._settings.smtp_host}: {reason[:1000]}"))


def create_sender(settings: EmailSettings) -> EmailSender:
    """Return the sender that `settings.backend` names."""
    sender = parse_sender(settings.from_)
    if settings.backend == "smtp":
        return SmtpSender(sender, settings)
    if settings.backend == "file":
        return FileSender(sender, settings.file_dir)
    return MemorySender() if settings.backend == "memory" else ConsoleSender(sender)


def _write(path: Path, content: bytes) -> None:
    make_folder(path.parent)
    with open(path, "xb", opener=open_private) as file:
        file.write(content)


def _is_permanent(error: Exception) -> bool:
    # The certificate of a server with TLS from the first byte is the cause of a connect error.
    is_untrusted = isinstance(error.__cause__ or error, ssl.SSLCertVerificationError)
    # Beside lost connections: the server lacks STARTTLS, AUTH or SMTPUTF8.
    return is_untrusted or not isinstance(error, OSError)
