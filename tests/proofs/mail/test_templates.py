"""Messages from templates: what is missing, and recipients that are none."""

import shutil
from pathlib import Path

import pytest
from jinja2 import TemplateNotFound
from pydantic import ValidationError

from app.mail import render_email
from tests.mail.test_templates import CONTEXT, TEMPLATES, render


@pytest.mark.parametrize("part", ["subject.txt.j2", "body.txt.j2"])
def test_a_missing_template_is_an_error(tmp_path: Path, part: str) -> None:
    directory = shutil.copytree(TEMPLATES, tmp_path / "templates")
    (directory / "welcome" / part).unlink()
    with pytest.raises(TemplateNotFound, match=part):
        render(CONTEXT, directory)


def test_a_bad_recipient_is_an_error() -> None:
    with pytest.raises(ValidationError, match="not a valid e-mail address"):
        render_email(TEMPLATES, "welcome", to="ann", context=CONTEXT)
