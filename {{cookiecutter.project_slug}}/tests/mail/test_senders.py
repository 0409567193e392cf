"""The mail backends: how settings select one, and what each does with a message."""

from email.headerregistry import Address
from typing import Any

import pytest

from app.mail import EmailMessage, EmailSettings, MemorySender, create_sender
from app.mail.senders import ConsoleSender, FileSender, SmtpSender

from .conftest import Mailbox


@pytest.mark.parametrize(
    ("backend", "sender_type"),
    [
        ("console", ConsoleSender),
        ("file", FileSender),
        ("memory", MemorySender),
        ("smtp", SmtpSender),
    ],
)
def test_the_backend_setting_selects_the_sender(backend: Any, sender_type: type[object]) -> None:
    settings = EmailSettings(backend=backend, smtp_host="mail.example.com")
    assert type(create_sender(settings)) is sender_type


async def test_the_console_sender_prints_a_readable_mail(
    sender: Address, message: EmailMessage, capsys: pytest.CaptureFixture[str]
) -> None:
    await ConsoleSender(sender).send(message)
    ruler, *lines, last_ruler = capsys.readouterr().out.splitlines()
    assert ruler == last_ruler == "-" * 72
    assert lines == [
        "From: Tests <tests@example.org>",
        "To: ann@example.com",
        "Subject: Hello",
        "",
        "How are you?",
    ]


async def test_the_smtp_sender_delivers_the_mail(
    mailbox: Mailbox, sender: Address, message: EmailMessage
) -> None:
    await SmtpSender(sender, mailbox.settings).send(message)
    (mail,) = mailbox.mails
    assert (mail["From"], mail["To"]) == ("Tests <tests@example.org>", "ann@example.com")
    assert mail["Message-ID"] == f"<{message.message_id}@example.org>"
