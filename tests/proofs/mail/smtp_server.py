"""A real SMTP server in the test's event loop, with answers that the test chooses."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage as MimeMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

from app.mail import EmailSettings
from app.mail.settings import Tls

SENDER = "Tests <tests@example.org>"
USER, PASSWORD = "mailer", "correct horse"


@dataclass
class Mailbox:
    """An aiosmtpd handler with scripted answers, which records what it receives."""

    recipients: dict[str, list[str]] = field(default_factory=dict)
    """Answers to RCPT TO per address, each used once; then "250 OK"."""
    data: list[str] = field(default_factory=list)
    """Answers to DATA: a reply, "drop" or "stall"; each used once."""
    stalls_at_quit: bool = False
    port: int = 0
    mails: list[MimeMessage] = field(default_factory=list)
    envelopes: list[list[str]] = field(default_factory=list)
    """The accepted recipients of each mail."""
    greetings: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    """Users who tried to log in."""
    encrypted: list[bool] = field(default_factory=list)
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)

    def settings(self, **changes: Any) -> EmailSettings:
        """Return settings that lead to this server."""
        server: dict[str, Any] = {"smtp_host": "127.0.0.1", "smtp_port": self.port}
        return EmailSettings(backend="smtp", from_=SENDER, **{"timeout": 5.0, **server, **changes})

    # The hooks' names are aiosmtpd's.

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, _: SMTP, session: Any, __: Any, hostname: str, answers: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.greetings.append(hostname)
        return answers

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _: SMTP, __: Any, envelope: Any, address: str, ___: list[str]
    ) -> str:
        answers = self.recipients.get(address)
        answer = answers.pop(0) if answers else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        answer = self.data.pop(0) if self.data else "250 OK"
        if answer == "stall":
            await self._wait_for_the_client_to_leave()
        if answer == "drop" or answer.startswith("250"):
            mail = message_from_bytes(envelope.original_content, policy=policy.SMTPUTF8)
            assert isinstance(mail, MimeMessage)
            self.mails.append(mail)
            self.envelopes.append(envelope.rcpt_tos)
            self.encrypted.append(session.ssl is not None)
        if answer == "drop" and isinstance(server.transport, asyncio.WriteTransport):
            server.transport.abort()
        return answer

    async def handle_QUIT(self, _: SMTP, __: Any, ___: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.stalls_at_quit:
            await self._wait_for_the_client_to_leave()
        return "221 Bye"

    def authenticate(self, _: SMTP, __: Any, ___: Any, ____: str, credentials: Any) -> AuthResult:
        """Accept USER with PASSWORD."""
        given = (credentials.login.decode(), credentials.password.decode())
        self.logins.append(given[0])
        if given == (USER, PASSWORD):
            return AuthResult(success=True, handled=False)
        return AuthResult(success=False, handled=False, message="535 5.7.8 refused")

    async def _wait_for_the_client_to_leave(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:  # aiosmtpd cancels its handler when the connection is lost
            self.disconnected.set()


@asynccontextmanager
async def serve(
    mailbox: Mailbox,
    *,
    tls: Tls = "none",
    certificate: ssl.SSLContext | None = None,
    utf8: bool = True,
) -> AsyncIterator[Mailbox]:
    """Run a server for `mailbox` on a free port of the loopback interface."""
    loop = asyncio.get_running_loop()

    def connect() -> SMTP:
        return SMTP(
            mailbox,
            hostname="mail.example.org",
            tls_context=certificate if tls == "starttls" else None,
            enable_SMTPUTF8=utf8,
            auth_require_tls=False,
            authenticator=mailbox.authenticate,
            loop=loop,
        )

    wrapped = certificate if tls == "tls" else None
    server = await loop.create_server(connect, "127.0.0.1", 0, ssl=wrapped)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
