"""The backends: chosen by the settings, and what each does with a message."""

import stat
from email import message_from_bytes, policy
from email.headerregistry import Address
from pathlib import Path
from typing import Any

import pytest

from app.mail import (
    EmailMessage,
    EmailSettings,
    MemorySender,
    PermanentEmailError,
    TransientEmailError,
    create_sender,
)
from app.mail.senders import ConsoleSender, FileSender
from app.mail.smtp import SmtpSender

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
def test_the_settings_choose(backend: Any, sender_type: type[object]) -> None:
    settings = EmailSettings(backend=backend, smtp_host="mail.example.com")
    assert type(create_sender(settings)) is sender_type


async def test_the_console_is_readable(
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


async def test_a_mail_is_a_file_for_nobody_else(
    sender: Address, message: EmailMessage, tmp_path: Path
) -> None:
    await FileSender(sender, tmp_path / "outbox").send(message)
    (file,) = (tmp_path / "outbox").iterdir()
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert (file.suffix, mail["To"]) == (".eml", "ann@example.com")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_server_gets_the_mail(
    mailbox: Mailbox, sender: Address, message: EmailMessage
) -> None:
    await SmtpSender(sender, mailbox.settings).send(message)
    (mail,) = mailbox.mails
    assert (mail["From"], mail["To"]) == ("Tests <tests@example.org>", "ann@example.com")
    assert mail["Message-ID"] == f"<{message.message_id}@example.org>"


@pytest.mark.parametrize(
    ("answer", "error"),
    [("451 try again", TransientEmailError), ("554 looks like spam", PermanentEmailError)],
)
async def test_a_refusal_says_whether_to_try_again(
    mailbox: Mailbox, sender: Address, message: EmailMessage, answer: str, error: type[Exception]
) -> None:
    mailbox.answer = answer
    with pytest.raises(error, match=answer):
        await SmtpSender(sender, mailbox.settings).send(message)
