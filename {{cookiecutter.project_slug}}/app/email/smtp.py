"""The backend for production: an SMTP server, with one connection a message."""

import asyncio
import ssl
from base64 import b64encode
from contextlib import suppress
from email.headerregistry import Address
from typing import cast

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponse,
    SMTPResponseException,
)

from .errors import EmailError, PartialRefusalError, PermanentEmailError, TransientEmailError
from .message import EmailMessage, one_line
from .settings import EmailSettings

_QUIT_TIMEOUT = 2.0
"""Seconds for the goodbye after the server has accepted a message."""
_MAX_REASON = 1000
"""Characters that are kept of what a server says."""
_PERMANENT = 500
"""Codes below say "try again later" (4xx) or make no sense; the rest say "never"."""


class SmtpSender:
    """Hands messages to the server of the settings.

    Certificates are checked against those of the system, or of the variable SSL_CERT_FILE.
    """

    def __init__(self, sender: Address, settings: EmailSettings) -> None:
        self._sender = sender
        self._settings = settings
        self._tls_context = ssl.create_default_context()

    async def send(self, message: EmailMessage) -> None:
        """Send the message to all recipients within `settings.timeout` seconds.

        Raises what `EmailSender.send` names.
        """
        client = self._client()
        try:
            async with asyncio.timeout(self._settings.timeout):
                await client.connect()
                answers, _ = await client.send_message(
                    message.to_mime(self._sender),
                    sender=self._sender.addr_spec,
                    recipients=message.to,
                )
            # The server has the message. Nothing may look like a failure from here on, or a
            # retry would send it again.
            with suppress(SMTPException, OSError):
                await client.quit(timeout=_QUIT_TIMEOUT)
        except (SMTPException, OSError) as error:  # TimeoutError is an OSError
            raise self._email_error(error) from error
        finally:
            _drop(client)
        _check_all_accepted(answers)

    def _client(self) -> SMTP:
        settings = self._settings
        password = settings.smtp_password
        return SMTP(
            hostname=settings.smtp_host,
            port=settings.port,
            username=settings.smtp_user,
            password=None if password is None else password.get_secret_value(),
            # The default is the name of this machine: looked up in DNS, shown to the recipients.
            local_hostname=self._sender.domain,
            # It would be for each operation; the limit for everything is in `send`.
            timeout=None,
            use_tls=settings.tls == "tls",
            # None would mean clear text if the server, or somebody on the way, offers no TLS.
            start_tls=settings.tls == "starttls",
            tls_context=self._tls_context,
        )

    def _email_error(self, error: Exception) -> EmailError:
        settings = self._settings
        reason = self._without_password(_reason(error) or f"not done within {settings.timeout:g} s")
        kind = PermanentEmailError if _is_permanent(error) else TransientEmailError
        return kind(one_line(f"{settings.smtp_host}:{settings.port}: {reason[:_MAX_REASON]}"))

    def _without_password(self, text: str) -> str:
        """Leave out what a server repeats of a login: the password, plain and as it was sent."""
        if self._settings.smtp_password is None:
            return text
        password = self._settings.smtp_password.get_secret_value()
        sent = b64encode(f"\0{self._settings.smtp_user}\0{password}".encode()).decode()
        return text.replace(sent, "***").replace(password, "***")


def _drop(client: SMTP) -> None:
    # close() alone waits for a stalled server to read what it was sent, perhaps for ever.
    if client.transport is not None:
        cast("asyncio.WriteTransport", client.transport).abort()
    client.close()


def _check_all_accepted(answers: dict[str, SMTPResponse]) -> None:
    """Raise PartialRefusalError if the server refused some of the recipients."""
    if not answers:
        return
    refused = [recipient for recipient, answer in answers.items() if answer.code >= _PERMANENT]
    deferred = [recipient for recipient in answers if recipient not in refused]
    reasons = (f"{recipient}: {code} {text}" for recipient, (code, text) in answers.items())
    reason = one_line("; ".join(reasons)[:_MAX_REASON])
    raise PartialRefusalError(reason, deferred, refused)


def _is_permanent(error: Exception) -> bool:
    if isinstance(error, SMTPRecipientsRefused):
        return all(refusal.code >= _PERMANENT for refusal in error.recipients)
    if isinstance(error, SMTPResponseException):
        return error.code >= _PERMANENT
    # The certificate of a server with TLS from the first byte is the cause of a connect error.
    is_untrusted = isinstance(error.__cause__ or error, ssl.SSLCertVerificationError)
    # Beside lost connections: the server lacks STARTTLS, AUTH or SMTPUTF8.
    return is_untrusted or not isinstance(error, OSError)


def _reason(error: Exception) -> str:
    if isinstance(error, SMTPRecipientsRefused):
        return "; ".join(f"{one.recipient}: {one.code} {one.message}" for one in error.recipients)
    if isinstance(error, SMTPResponseException):
        return f"{error.code} {error.message}"
    return str(error)
