"""Fixtures of the notifier's tests: a message, its sender, and an SMTP server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import Message
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from app.mail import EmailMessage, EmailSettings


@dataclass
class Mailbox:
    """An SMTP server on this machine: its settings, and the mails that it received."""

    port: int = 0
    mails: list[Message] = field(default_factory=list)

    @property
    def settings(self) -> EmailSettings:
        return EmailSettings(backend="smtp", smtp_host="127.0.0.1", smtp_port=self.port)

    async def handle_DATA(self, _: SMTP, __: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(mailbox, hostname="mail.example.org", loop=loop), "127.0.0.1", 0
    )
    mailbox.port = server.sockets[0].getsockname()[1]
    yield mailbox
    server.close()


@pytest.fixture
def message() -> EmailMessage:
    return EmailMessage(to="ann@example.com", subject="Hello", text="How are you?\n")


@pytest.fixture
def sender() -> Address:
    return Address("Tests", "tests", "example.org")
