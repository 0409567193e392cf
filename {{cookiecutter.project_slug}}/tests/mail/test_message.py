"""The message: what it refuses, what survives JSON, and what goes on the wire."""

from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage as MimeMessage

import pytest
from pydantic import ValidationError

from app.mail import EmailMessage


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("to", "ann"),
        ("to", "ann@example.com, bob@example.com"),
        ("to", "bob@example.com\r\n"),
        ("subject", "Hello\nBcc: bob@example.com"),
        ("text", "a\x00b"),
        ("html", "a\ud800b"),
    ],
)
def test_a_message_that_cannot_be_sent_is_refused(field: str, value: object) -> None:
    fields = {"to": "ann@example.com", "subject": "Hello", "text": "Hi", field: value}
    with pytest.raises(ValidationError) as refused:
        EmailMessage.model_validate(fields)
    assert refused.value.errors()[0]["loc"][0] == field


def test_it_is_the_same_after_json() -> None:
    message = EmailMessage(
        to="jürgen@bücher.example",
        subject="Grüße 🚀",
        text="a\r\nb\tc\u2028",
        html="<p>\\ & </p>",
    )
    assert EmailMessage.model_validate_json(message.model_dump_json()) == message


def test_text_and_html_are_alternatives(sender: Address) -> None:
    message = EmailMessage(to="ann@example.com", subject="Größe", text="ä", html="<b>ä</b>")
    mime = message_from_bytes(message.to_mime(sender).as_bytes(), policy=policy.default)
    assert isinstance(mime, MimeMessage)
    assert (mime["From"], mime["Subject"]) == ("Tests <tests@example.org>", "Größe")
    text, html = mime.iter_parts()
    assert (text.get_content().strip(), html.get_content().strip()) == ("ä", "<b>ä</b>")
