"""Encryption of the SMTP backend: mandatory, and only with a verified server."""

import ssl
from email.headerregistry import Address
from pathlib import Path

import pytest
import trustme

from app.mail import EmailMessage, PermanentEmailError, TransientEmailError
from app.mail.senders import SmtpSender
from app.mail.settings import Tls

from .smtp_server import PASSWORD, USER, Mailbox, serve

AUTHORITY = trustme.CA()


@pytest.fixture
def trusting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the test's certificate authority, as an operator would configure it."""
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def certificate(name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.usefixtures("trusting")
async def test_starttls_precedes_the_password_and_the_message(
    sender: Address, message: EmailMessage
) -> None:
    async with serve(Mailbox(), tls="starttls", certificate=certificate()) as mailbox:
        settings = mailbox.settings(smtp_tls="starttls", smtp_user=USER, smtp_password=PASSWORD)
        await SmtpSender(sender, settings).send(message)
    assert (mailbox.logins, mailbox.encrypted) == ([USER], [True])


@pytest.mark.usefixtures("trusting")
async def test_implicit_tls_delivers_a_message(sender: Address, message: EmailMessage) -> None:
    async with serve(Mailbox(), tls="tls", certificate=certificate()) as mailbox:
        await SmtpSender(sender, mailbox.settings(smtp_tls="tls")).send(message)
    assert len(mailbox.mails) == 1


async def test_nothing_is_sent_when_the_server_lacks_starttls(
    mailbox: Mailbox, sender: Address, message: EmailMessage
) -> None:
    settings = mailbox.settings(smtp_tls="starttls", smtp_user=USER, smtp_password=PASSWORD)
    with pytest.raises(PermanentEmailError, match="STARTTLS extension not supported"):
        await SmtpSender(sender, settings).send(message)
    assert (mailbox.logins, mailbox.mails) == ([], [])


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_unknown_certificate_is_refused(
    sender: Address, message: EmailMessage, tls: Tls
) -> None:
    async with serve(Mailbox(), tls=tls, certificate=certificate()) as mailbox:
        with pytest.raises(PermanentEmailError, match="certificate verify failed"):
            await SmtpSender(sender, mailbox.settings(smtp_tls=tls)).send(message)
    assert mailbox.mails == []


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_certificate_of_another_host_is_refused(
    sender: Address, message: EmailMessage, tls: Tls
) -> None:
    other = certificate("mail.example.org")
    async with serve(Mailbox(), tls=tls, certificate=other) as mailbox:
        with pytest.raises(PermanentEmailError, match=r"is not valid for '127\.0\.0\.1'"):
            await SmtpSender(sender, mailbox.settings(smtp_tls=tls)).send(message)
    assert mailbox.mails == []


async def test_implicit_tls_fails_when_the_server_has_none(
    mailbox: Mailbox, sender: Address, message: EmailMessage
) -> None:
    with pytest.raises(TransientEmailError):
        await SmtpSender(sender, mailbox.settings(smtp_tls="tls")).send(message)
    assert mailbox.mails == []
