"""The interface of a sender, the backends that implement it, and the choice between them."""

import asyncio
import ssl
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from email.headerregistry import Address
from email.policy import SMTPUTF8
from io import BytesIO
from pathlib import Path
from typing import Protocol, cast
from uuid import uuid4

from aiosmtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException

from app.files import write_private

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
"""SMTP codes from here on mean "never"; lower ones mean "try again later" or make no sense."""


class EmailSender(Protocol):
    """A backend that sends messages."""

    async def send(self, message: EmailMessage) -> None:
        """Send a message; return when the mail server has accepted it.

        Raises TransientEmailError if the same call may succeed later, else PermanentEmailError.
        """


current_sender: ContextVar[EmailSender] = ContextVar("current_sender")
"""The sender that mail tasks use; set before the task runner starts."""


class ConsoleSender:
    """For development: prints messages to standard output."""

    def __init__(self, sender: Address) -> None:
        self._sender = sender

    async def send(self, message: EmailMessage) -> None:
        """Print the message in one call, so that two messages do not mix."""
        # The text may come from a stranger, and contain escape sequences for the terminal.
        text = printable(message.text).rstrip()
        head = f"From: {self._sender}\nTo: {message.to}\nSubject: {message.subject}"
        ruler = "-" * 72
        print(f"{ruler}\n{head}\n\n{text}\n{ruler}", flush=True)  # noqa: T201 - what it is for


class FileSender:
    """For development: writes messages as .eml files, which mail programs open, into a folder."""

    def __init__(self, sender: Address, directory: Path) -> None:
        self._sender = sender
        self._directory = directory

    async def send(self, message: EmailMessage) -> None:
        """Write the message; raises OSError when the disk is full or read-only."""
        content = message.to_mime(self._sender).as_bytes(policy=SMTPUTF8)
        # The random part, because the same message can be sent twice in the same microsecond.
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{message.message_id}-{uuid4().hex[:8]}.eml"
        await asyncio.to_thread(write_private, self._directory / name, BytesIO(content))


class MemorySender:
    """For tests: keeps every message in `sent`, oldest first."""

    def __init__(self) -> None:
        self.sent: list[EmailMessage] = []

    async def send(self, message: EmailMessage) -> None:
        """Append the message to `sent`."""
        self.sent.append(message)


class SmtpSender:
    """For production: sends each message to the server of the settings in its own connection.

    Certificates are verified against the system's, or those that SSL_CERT_FILE names.
    """

    def __init__(self, sender: Address, settings: EmailSettings) -> None:
        self._sender = sender
        self._settings = settings

    async def send(self, message: EmailMessage) -> None:
        """Send the message within `settings.timeout` seconds; raises like `EmailSender.send`."""
        client = self._client()
        mime, sender = message.to_mime(self._sender), self._sender.addr_spec
        try:
            async with asyncio.timeout(self._settings.timeout):
                await client.connect()
                await client.send_message(mime, sender=sender, recipients=[message.to])
            # The server has the message. An error from here on must not look like a failure, or
            # a retry would send it again.
            with suppress(SMTPException, OSError):
                await client.quit(timeout=2.0)
        except (SMTPException, OSError) as error:  # TimeoutError is an OSError
            raise self._email_error(error) from error
        finally:
            # close() would wait, perhaps for ever, until a stalled server reads the whole message.
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
            # The default, the name of this machine, is looked up in DNS and shown to recipients.
            local_hostname=self._sender.domain,
            use_tls=settings.tls == "tls",
            # None would allow clear text if the server, or an attacker in between, offers no TLS.
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
        error_type = PermanentEmailError if is_permanent else TransientEmailError
        return error_type(one_line(f"{self._settings.smtp_host}: {reason[:1000]}"))


def create_sender(settings: EmailSettings) -> EmailSender:
    """Return the sender that `settings.backend` names."""
    sender = parse_sender(settings.from_)
    if settings.backend == "smtp":
        return SmtpSender(sender, settings)
    if settings.backend == "file":
        return FileSender(sender, settings.file_dir)
    return MemorySender() if settings.backend == "memory" else ConsoleSender(sender)


def _is_permanent(error: Exception) -> bool:
    # With TLS from the first byte, the library wraps a certificate error in a connect error.
    is_untrusted = isinstance(error.__cause__ or error, ssl.SSLCertVerificationError)
    # An OSError is a lost connection; otherwise the server lacks STARTTLS, AUTH or SMTPUTF8.
    return is_untrusted or not isinstance(error, OSError)
