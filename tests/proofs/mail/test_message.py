"""The message: which values it refuses, and its MIME form."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage as MimeMessage

import pytest
from pydantic import ValidationError

from app.mail import EmailMessage

LONG_NAME = "Größe, " * 20


def parsed_mime(message: EmailMessage, sender: Address) -> MimeMessage:
    parsed = message_from_bytes(message.to_mime(sender).as_bytes(), policy=policy.default)
    assert isinstance(parsed, MimeMessage)
    return parsed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("to", ""),
        ("to", "ann"),
        ("to", "ann@example.com, bob@example.com"),
        ("to", "bob@example.com\r\n"),
        ("to", None),
        ("to", ["ann@example.com"]),
        ("subject", "Hello\nBcc: bob@example.com"),
        ("subject", "Hello\r"),
        ("subject", "Hello\x00"),
        ("subject", "Hello\u2028"),
        ("subject", "Hello\x85"),
        ("subject", "Hello\x1b[2J"),
        ("subject", "Hello\ud800"),
        ("text", "a\x00b"),
        ("text", "a\udfffb"),
        ("html", "a\x00b"),
        ("html", "a\ud800b"),
        ("message_id", ""),
        ("message_id", "a@b"),
        ("message_id", "a>\r\nBcc: bob@example.com"),
        ("message_id", "a\n"),
        ("created_at", datetime(2026, 1, 1)),  # noqa: DTZ001 - naive on purpose
        ("bcc", "bob@example.com"),
    ],
)
def test_invalid_message_field_is_refused(field: str, value: object) -> None:
    fields = {"to": "ann@example.com", "subject": "Hello", "text": "Hi", field: value}
    with pytest.raises(ValidationError) as refused:
        EmailMessage.model_validate(fields)
    assert refused.value.errors()[0]["loc"][0] == field


def test_message_id_and_date_are_set_once(message: EmailMessage, sender: Address) -> None:
    first, second = message.to_mime(sender), message.to_mime(sender)
    assert first["Message-ID"] == second["Message-ID"] == f"<{message.message_id}@example.org>"
    assert first["Date"] == second["Date"]
    assert first["Date"].datetime == message.created_at
    other = EmailMessage(to=message.to, subject=message.subject, text=message.text)
    assert other.message_id != message.message_id


def test_message_is_unchanged_after_json() -> None:
    message = EmailMessage(
        to="jürgen@bücher.example",
        subject="Grüße 🚀",
        text="a\r\nb\tc\u2028",
        html="<p>\\ & </p>",
    )
    assert EmailMessage.model_validate_json(message.model_dump_json()) == message


def test_plain_text_message_has_expected_headers(message: EmailMessage, sender: Address) -> None:
    mime = parsed_mime(message, sender)
    assert mime["From"] == "Tests <tests@example.org>"
    assert mime["To"] == "ann@example.com"
    assert mime["Subject"] == "Hello"
    assert mime["Auto-Submitted"] == "auto-generated"
    assert mime["Date"].datetime.tzinfo == UTC
    assert mime.get_content_type() == "text/plain"
    assert mime.get_content().splitlines() == ["How are you?"]


def test_text_and_html_are_alternatives(sender: Address) -> None:
    message = EmailMessage(to="ann@example.com", subject="Größe", text="ä", html="<b>ä</b>")
    mime = message_from_bytes(message.to_mime(sender).as_bytes(), policy=policy.default)
    assert isinstance(mime, MimeMessage)
    assert (mime["From"], mime["Subject"]) == ("Tests <tests@example.org>", "Größe")
    text, html = mime.iter_parts()
    assert (text.get_content().strip(), html.get_content().strip()) == ("ä", "<b>ä</b>")


def test_subject_that_looks_encoded_cannot_add_headers(sender: Address) -> None:
    subject = "=?utf-8?q?Hello=0D=0AContent-Type=3A_text/html=0D=0A=0D=0A<h1>Hi</h1>?="
    mime = parsed_mime(EmailMessage(to="ann@example.com", subject=subject, text="Hi"), sender)
    assert mime["Subject"].replace("\N{WORD JOINER}", "") == subject
    assert (mime.get_content_type(), mime.get_content().strip()) == ("text/plain", "Hi")


@pytest.mark.parametrize("subject", ["Größe 🚀 " * 20 + "!", "word " * 100 + "!", "x" * 900])
def test_long_headers_are_folded_and_parsed_back_unchanged(subject: str) -> None:
    to = f"user.{'x' * 55}@{'sub.' * 20}example.com"
    sender = Address(LONG_NAME, "tests", "example.org")
    message = EmailMessage(to=to, subject=subject, text="x" * 5000)
    assert max(map(len, message.to_mime(sender).as_bytes().split(b"\r\n"))) < 998
    mime = parsed_mime(message, sender)
    assert [a.addr_spec for a in mime["To"].addresses] == [to]
    assert [a.addr_spec for a in mime["From"].addresses] == ["tests@example.org"]
    assert mime["Subject"].lstrip() == subject
    assert mime.get_content().strip() == "x" * 5000
