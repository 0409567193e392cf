"""The console backend: readable, and harmless for the terminal."""

import io
import sys
from email.headerregistry import Address

import pytest

from app.email import ConsoleSender, EmailMessage


async def test_it_is_readable(
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


async def test_it_tells_of_html(sender: Address, capsys: pytest.CaptureFixture[str]) -> None:
    message = EmailMessage(to="ann@example.com", subject="s", text="t", html="<b>t</b>")
    await ConsoleSender(sender).send(message)
    assert "(and the same as HTML, 8 characters)" in capsys.readouterr().out


async def test_no_escape_sequence_reaches_the_terminal(
    sender: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    message = EmailMessage(to="ann@example.com", subject="s", text="red: \x1b[31m")
    await ConsoleSender(sender).send(message)
    assert "red: \ufffd[31m" in capsys.readouterr().out


async def test_a_terminal_that_cannot_show_everything(
    sender: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="cp1252"))
    message = EmailMessage(to="ann@example.com", subject="Größe 🚀", text="t")
    await ConsoleSender(sender).send(message)
    assert "Subject: Größe \\U0001f680" in output.getvalue().decode("cp1252")


async def test_an_output_without_encoding(
    sender: Address, message: EmailMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    await ConsoleSender(sender).send(message)
    assert "How are you?" in output.getvalue()
