"""The console sender is harmless for terminals; mail files are private and never overwritten."""

import asyncio
import io
import re
import stat
import sys
from email.headerregistry import Address
from pathlib import Path

import pytest

from app.mail import EmailMessage
from app.mail.senders import ConsoleSender, FileSender


def files_in(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


async def test_mail_file_name_has_time_and_message_id(
    sender: Address, message: EmailMessage, tmp_path: Path
) -> None:
    await FileSender(sender, tmp_path / "new" / "outbox").send(message)
    (file,) = files_in(tmp_path / "new" / "outbox")
    time, message_id, unique = file.name.split("-")
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{6}Z", time)
    assert message_id == message.message_id
    assert re.fullmatch(r"[0-9a-f]{8}\.eml", unique)


@pytest.mark.usefixtures("no_umask")
async def test_mail_files_are_private_to_their_owner(
    sender: Address, message: EmailMessage, tmp_path: Path
) -> None:
    await FileSender(sender, tmp_path / "outbox").send(message)

    paths = [tmp_path / "outbox", *files_in(tmp_path / "outbox")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o700, 0o600]


async def test_same_message_sent_again_gets_a_file_of_its_own(
    sender: Address, message: EmailMessage, tmp_path: Path
) -> None:
    files = FileSender(sender, tmp_path)
    await asyncio.gather(*(files.send(message) for _ in range(20)))
    assert [file.suffix for file in files_in(tmp_path)] == [".eml"] * 20


async def test_file_keeps_an_international_address(sender: Address, tmp_path: Path) -> None:
    message = EmailMessage(to="jürgen@bücher.example", subject="Größe", text="t")
    await FileSender(sender, tmp_path).send(message)
    (file,) = files_in(tmp_path)
    assert "To: jürgen@xn--bcher-kva.example\r\n" in file.read_bytes().decode()


async def test_console_sender_removes_terminal_escape_sequences(
    sender: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    message = EmailMessage(to="ann@example.com", subject="s", text="red: \x1b[31m")
    await ConsoleSender(sender).send(message)
    assert "red: \ufffd[31m" in capsys.readouterr().out


async def test_console_sender_works_when_stdout_has_no_encoding(
    sender: Address, message: EmailMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    await ConsoleSender(sender).send(message)
    assert "How are you?" in output.getvalue()
