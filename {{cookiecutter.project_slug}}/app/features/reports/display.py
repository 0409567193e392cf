"""How values are written for people, in mails and on pages."""

import re

MAX_FILE_NAME = 200
"""Characters that are kept of the name of a file."""
SHOWN_COLUMNS = 50
"""That a mail or a page shows; a program gets all."""


def visible(value: object) -> str:
    """Write a value on one line, with control characters as escapes: it comes from a stranger."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)
    )


def file_name(given: str | None) -> str:
    """Return what is kept of the name that the caller gave a file: it is no path."""
    name = re.split(r"[/\\]", given or "")[-1].strip()
    return visible(name)[:MAX_FILE_NAME] or "file"


def readable(value: object) -> str:
    """Write a value: fractions with six digits, whole numbers in groups of three."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else visible(value)


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: "1 row", "2,000 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
