"""How values are written for people, in mails and on pages."""

SHOWN_COLUMNS = 50
"""That a mail or a page shows; a program gets all."""


def visible(value: object) -> str:
    """Write a value on one line, with control characters as escapes: it comes from a stranger."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)
    )


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


WORDS = {
    "counted": counted,
    "readable": readable,
    "visible": visible,
    "shown_columns": SHOWN_COLUMNS,
}
"""What the templates of mails and pages call."""
