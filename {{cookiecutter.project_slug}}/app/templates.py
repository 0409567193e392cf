"""Renders Jinja templates, for pages and mails."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2


def render(name: str, context: Mapping[str, Any], *folders: Path) -> str:
    """Render the template `name` from the first folder that has it.

    Values are escaped unless the name ends in `.txt.j2`. Raises jinja2.TemplateNotFound, and
    jinja2.UndefinedError for a variable without a value.
    """
    return _environment(*folders).get_template(name).render(context)


@cache
def _environment(*folders: Path) -> "jinja2.Environment":
    # Imported late: it takes 15 ms and 2 MB, and most processes render nothing for a while.
    import jinja2  # noqa: PLC0415 - see above

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=jinja2.select_autoescape(disabled_extensions=["txt.j2"], default=True),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
