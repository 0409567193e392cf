"""Messages from templates: missing templates, invalid recipients, hostile data."""

import shutil
from pathlib import Path

import pytest
from jinja2 import TemplateNotFound
from pydantic import ValidationError

from app.mail import EmailMessage, render_email
from tests.mail.test_templates import CONTEXT, TEMPLATES, render


@pytest.mark.parametrize("part", ["subject.txt.j2", "body.txt.j2"])
def test_missing_template_is_an_error(tmp_path: Path, part: str) -> None:
    directory = shutil.copytree(TEMPLATES, tmp_path / "templates")
    (directory / "welcome" / part).unlink()
    with pytest.raises(TemplateNotFound, match=part):
        render(CONTEXT, directory)


def test_invalid_recipient_is_an_error() -> None:
    with pytest.raises(ValidationError, match="not a valid e-mail address"):
        render_email(TEMPLATES, "welcome", to="ann", context=CONTEXT)


def test_html_template_is_optional(tmp_path: Path) -> None:
    directory = shutil.copytree(TEMPLATES, tmp_path / "templates")
    (directory / "welcome" / "body.html.j2").unlink()
    assert render(CONTEXT, directory).html is None


def test_control_characters_in_data_cannot_break_a_message() -> None:
    bad = "Ann\r\nBcc: b@example.com\x00\ud800\u2028\x1b[2J"
    message = render({"place": bad, "name": bad, "link": bad})
    assert message.subject == "Welcome to Ann Bcc: b@example.com\ufffd\ufffd \ufffd[2J!"
    assert message.text.startswith("Dear Ann\r\nBcc: b@example.com\ufffd\ufffd\u2028\ufffd[2J\n")
    assert EmailMessage.model_validate_json(message.model_dump_json()) == message
