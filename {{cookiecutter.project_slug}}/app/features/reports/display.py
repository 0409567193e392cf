"""How values are written for people, in mails and on pages."""

import re

MAX_FILE_NAME = 200
"""Characters that are kept of the name of a file."""


def visible(value: object) -> str:
    """Write a value on one line, with control characters as escapes: it comes from a stranger."""
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def file_name(given: str | None) -> str:
    """Return what is kept of the name that the caller gave a file: it is no path."""
    name = re.split(r"[/\\]", given or "")[-1].strip()
    return visible(name)[:MAX_FILE_NAME] or "file"


def readable(value: object) -> str:
    """Write a value for a page: numbers with five digits or whole, in groups of three."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e5 <= abs(value) < 1e13 else f"{value + 0.0:,.5g}"  # noqa: PLR2004
    return f"{value:,}" if isinstance(value, int) else visible(value)


def time_or_day(value: object) -> str:
    """Write a date or a date and time in ISO 8601 with less of it."""
    return visible(str(value).replace("T", " ").partition(".")[0])


def share(part: int, whole: int) -> str:
    """Write a part in percent, and never as 0 % or 100 % if it is not."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:  # noqa: PLR2004
        return "< 0.1 %"
    if 99.9 < percent < 100:  # noqa: PLR2004
        return "> 99.9 %"
    return f"{percent:.1f} %".replace(".0 %", " %")
