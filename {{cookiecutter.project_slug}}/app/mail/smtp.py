"""The backend for production: an SMTP server, with one connection a message."""

import asyncio
import ssl
from contextlib import suppress
from email.headerregistry import Address
from typing import cast

from aiosmtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException

from .message import EmailMessage, PermanentEmailError, TransientEmailError, one_line
from .settings import EmailSettings

_PERMANENT = 500
"""Codes below say "try again later" (4xx) or make no sense; the rest say "never"."""


class SmtpSender:
    """Hands messages to the server of the settings.

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


def _is_permanent(error: Exception) -> bool:
    # The certificate of a server with TLS from the first byte is the cause of a connect error.
    is_untrusted = isinstance(error.__cause__ or error, ssl.SSLCertVerificationError)
    # Beside lost connections: the server lacks STARTTLS, AUTH or SMTPUTF8.
    return is_untrusted or not isinstance(error, OSError)
