"""Messages from Jinja templates: a folder for each, with a file for each part.

`<name>/subject.txt.j2` and `<name>/body.txt.j2` make the plain text; `<name>/body.html.j2` may
add a page. Values are escaped in HTML only. A variable that is not in the context is an error.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import jinja2

from .message import EmailMessage, one_line, printable


def render_email(
    directory: Path, name: str, *, to: str, context: Mapping[str, object]
) -> EmailMessage:
    """Fill in the templates in `directory / name`.

    Data can hold anything: what cannot be mailed is replaced, and the subject becomes one line of
    at most 200 characters.

    Raises jinja2.TemplateNotFound when the subject or the text is missing, jinja2.UndefinedError
    for a variable without a value, and ValidationError for a bad recipient.
    """

    def render(part: str) -> str:
        return printable(_environment(directory).get_template(f"{name}/{part}").render(context))

    has_html = (directory / name / "body.html.j2").is_file()
    return EmailMessage(
        to=to,
        subject=one_line(render("subject.txt.j2")[:200]),
        text=render("body.txt.j2"),
        html=render("body.html.j2") if has_html else None,
    )


@cache
def _environment(directory: Path) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory),
        autoescape=jinja2.select_autoescape(["html.j2"], default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
