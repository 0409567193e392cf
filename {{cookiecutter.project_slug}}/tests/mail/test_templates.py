"""Messages from templates: HTML is escaped, and a missing variable is an error."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from app.mail import EmailMessage, render_email

TEMPLATES = Path(__file__).parent / "templates"
CONTEXT = {"place": "<Paris>", "name": "<Ann & co>", "link": '" onload="'}


def render(context: dict[str, str], directory: Path = TEMPLATES) -> EmailMessage:
    return render_email(directory, "welcome", to="ann@example.com", context=context)


def test_only_the_html_part_is_escaped() -> None:
    message = render(CONTEXT)
    assert message.to == "ann@example.com"
    assert message.subject == "Welcome to <Paris>!"
    assert message.text == "Dear <Ann & co>\nSincerely\n"
    assert message.html == '<p title="&#34; onload=&#34;">Dear &lt;Ann &amp; co&gt;</p>\n'


@pytest.mark.parametrize("missing", ["place", "name", "link"])
def test_a_missing_variable_is_an_error(missing: str) -> None:
    context = {name: value for name, value in CONTEXT.items() if name != missing}
    with pytest.raises(UndefinedError, match=f"'{missing}' is undefined"):
        render(context)
