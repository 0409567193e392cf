"""The SMTP backend with a real server: what arrives, and how failures are classified."""

import asyncio
import socket
from contextlib import suppress
from email.headerregistry import Address

import pytest
from aiosmtplib import SMTP

from app.mail import EmailMessage, PermanentEmailError, TransientEmailError
from app.mail.message import parse_sender
from app.mail.senders import SmtpSender
from app.mail.settings import Tls

from .smtp_server import PASSWORD, SENDER, USER, Mailbox, serve


@pytest.fixture
def sender() -> Address:
    return parse_sender(SENDER)


async def test_smtp_never_sends_the_host_name_of_this_machine(
    mailbox: Mailbox, sender: Address, message: EmailMessage
) -> None:
    await SmtpSender(sender, mailbox.settings()).send(message)
    assert mailbox.greetings == ["example.org"]
    assert socket.gethostname() not in mailbox.mails[0].as_string()


async def test_line_with_only_a_dot_does_not_end_the_message(
    mailbox: Mailbox, sender: Address
) -> None:
    text = "first\n.\n..last"
    message = EmailMessage(to="ann@example.com", subject="s", text=text)
    await SmtpSender(sender, mailbox.settings()).send(message)
    assert mailbox.mails[0].get_content().splitlines() == text.splitlines()


async def test_international_address_and_subject_arrive(mailbox: Mailbox, sender: Address) -> None:
    message = EmailMessage(to="jürgen@bücher.example", subject="Größe 🚀", text="ä")
    await SmtpSender(sender, mailbox.settings()).send(message)
    assert mailbox.envelopes == [["jürgen@xn--bcher-kva.example"]]
    assert mailbox.mails[0]["Subject"] == "Größe 🚀"


async def test_international_local_part_fails_without_smtputf8(sender: Address) -> None:
    message = EmailMessage(to="jürgen@example.com", subject="s", text="t")
    async with serve(Mailbox(), utf8=False) as mailbox:
        with pytest.raises(PermanentEmailError, match="SMTPUTF8 is not supported"):
            await SmtpSender(sender, mailbox.settings()).send(message)


async def test_international_domain_works_without_smtputf8(sender: Address) -> None:
    message = EmailMessage(to="ann@bücher.example", subject="Größe", text="t")
    async with serve(Mailbox(), utf8=False) as mailbox:
        await SmtpSender(sender, mailbox.settings()).send(message)
    assert mailbox.envelopes == [["ann@xn--bcher-kva.example"]]


async def test_login_succeeds(mailbox: Mailbox, sender: Address, message: EmailMessage) -> None:
    settings = mailbox.settings(smtp_user=USER, smtp_password=PASSWORD)
    await SmtpSender(sender, settings).send(message)
    assert (mailbox.logins, len(mailbox.mails)) == ([USER], 1)


async def test_wrong_password_is_a_permanent_error(
    mailbox: Mailbox, sender: Address, message: EmailMessage
) -> None:
    settings = mailbox.settings(smtp_user=USER, smtp_password="hunter2")
    with pytest.raises(PermanentEmailError, match=r"127\.0\.0\.1: 535 "):
        await SmtpSender(sender, settings).send(message)
    assert set(mailbox.logins) == {USER}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("451 greylisted, come back later", TransientEmailError),
        ("421 too busy", TransientEmailError),
        ("550 no such user", PermanentEmailError),
    ],
)
async def test_refused_recipient_is_a_transient_or_permanent_error(
    mailbox: Mailbox, sender: Address, message: EmailMessage, answer: str, error: type[Exception]
) -> None:
    mailbox.recipients["ann@example.com"] = [answer]
    with pytest.raises(error, match=answer) as failure:
        await SmtpSender(sender, mailbox.settings()).send(message)
    assert type(failure.value) is error
    assert mailbox.mails == []


@pytest.mark.parametrize("answer", ["this is not SMTP", "drop"])
async def test_failure_during_data_is_a_transient_error(
    mailbox: Mailbox, sender: Address, message: EmailMessage, answer: str
) -> None:
    mailbox.data = [answer]
    with pytest.raises(TransientEmailError):
        await SmtpSender(sender, mailbox.settings()).send(message)


async def test_answer_that_is_not_utf8_is_reported(sender: Address, message: EmailMessage) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 n\xffo\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        settings = Mailbox(port=server.sockets[0].getsockname()[1]).settings()
        with pytest.raises(PermanentEmailError, match="554 n\ufffdo"):
            await SmtpSender(sender, settings).send(message)


async def test_timeout_covers_the_whole_delivery(
    mailbox: Mailbox, sender: Address, message: EmailMessage
) -> None:
    mailbox.data = ["stall"]
    with pytest.raises(TransientEmailError, match=r"not done within 0\.5 s"):
        await SmtpSender(sender, mailbox.settings(timeout=0.5)).send(message)
    async with asyncio.timeout(5):
        await mailbox.disconnected.wait()


async def test_silent_server_is_left_at_the_timeout(sender: Address, message: EmailMessage) -> None:
    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        left.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        settings = Mailbox(port=server.sockets[0].getsockname()[1]).settings(timeout=0.2)
        with pytest.raises(TransientEmailError, match=r"not done within 0\.2 s"):
            await SmtpSender(sender, settings).send(message)
        async with asyncio.timeout(5):
            await left.wait()


async def test_server_that_stops_reading_is_disconnected_at_the_timeout(sender: Address) -> None:
    client_gave_up, left = asyncio.Event(), asyncio.Event()
    rest = b""

    async def stop_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal rest
        with suppress(ConnectionError):
            for answer in (b"220 hello", b"250 EHLO", b"250 MAIL", b"250 RCPT", b"354 DATA"):
                writer.write(answer + b"\r\n")
                await reader.readline()
            await client_gave_up.wait()
            rest = await reader.read()
        writer.close()
        left.set()

    server = await asyncio.start_server(stop_reading, "127.0.0.1", 0)
    large = EmailMessage(to="ann@example.com", subject="s", text="x" * 8_000_000)
    async with server:
        settings = Mailbox(port=server.sockets[0].getsockname()[1]).settings(timeout=0.8)
        with pytest.raises(TransientEmailError, match="not done within"):
            await SmtpSender(sender, settings).send(large)
        client_gave_up.set()
        async with asyncio.timeout(5):
            await left.wait()
    assert len(rest) < len(large.text)


async def test_accepted_message_counts_as_sent_when_quit_hangs(
    mailbox: Mailbox, sender: Address, message: EmailMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = SMTP.quit
    monkeypatch.setattr(SMTP, "quit", lambda self, timeout: leave(self, timeout=timeout / 20))
    mailbox.stalls_at_quit = True
    await SmtpSender(sender, mailbox.settings()).send(message)
    assert len(mailbox.mails) == 1


async def test_unreachable_server_is_transient(sender: Address, message: EmailMessage) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings = Mailbox(port=unused.getsockname()[1]).settings()
        with pytest.raises(TransientEmailError, match="Error connecting"):
            await SmtpSender(sender, settings).send(message)


@pytest.mark.parametrize(("tls", "port"), [("none", 25), ("starttls", 587), ("tls", 465)])
async def test_default_port_follows_the_encryption(
    sender: Address, message: EmailMessage, tls: Tls, port: int
) -> None:
    settings = Mailbox(port=port).settings(smtp_host="127.9.9.9", smtp_port=None, smtp_tls=tls)
    with pytest.raises(TransientEmailError, match=rf"127\.9\.9\.9 on port {port}"):
        await SmtpSender(sender, settings).send(message)
