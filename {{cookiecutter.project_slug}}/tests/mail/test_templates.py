"""Messages from templates: escaped where it matters, complete or an error."""

import shutil
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from app.mail import EmailMessage, render_email

TEMPLATES = Path(__file__).parent / "templates"
CONTEXT = {"place": "<Paris>", "name": "<Ann & co>", "link": '" onload="'}


def render(context: dict[str, str], directory: Path = TEMPLATES) -> EmailMessage:
    return render_email(directory, "welcome", to="ann@example.com", context=context)


def test_only_html_is_escaped() -> None:
    message = render(CONTEXT)
    assert message.to == "ann@example.com"
    assert message.subject == "Welcome to <Paris>!"
    assert message.text == "Dear <Ann & co>\nSincerely\n"
    assert message.html == '<p title="&#34; onload=&#34;">Dear &lt;Ann &amp; co&gt;</p>\n'


def test_html_is_optional(tmp_path: Path) -> None:
    directory = shutil.copytree(TEMPLATES, tmp_path / "templates")
    (directory / "welcome" / "body.html.j2").unlink()
    assert render(CONTEXT, directory).html is None


def test_data_cannot_break_a_message() -> None:
    bad = "Ann\r\nBcc: b@example.com\x00\ud800\u2028\x1b[2J"
    message = render({"place": bad, "name": bad, "link": bad})
    assert message.subject == "Welcome to Ann Bcc: b@example.com\ufffd\ufffd \ufffd[2J!"
    assert message.text.startswith("Dear Ann\r\nBcc: b@example.com\ufffd\ufffd\u2028\ufffd[2J\n")
    assert EmailMessage.model_validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize("missing", ["place", "name", "link"])
def test_a_missing_variable_is_an_error(missing: str) -> None:
    context = {name: value for name, value in CONTEXT.items() if name != missing}
    with pytest.raises(UndefinedError, match=f"'{missing}' is undefined"):
        render(context)
