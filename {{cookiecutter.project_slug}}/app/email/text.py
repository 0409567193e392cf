"""Text that is safe to mail: what is refused in a message, and how data is made to fit."""

import re

MAX_LINE = 998
"""Characters of a header. RFC 5322 has the number for bytes; to fold 100 kB takes seconds."""

_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_IN_A_TEXT = re.compile(r"[\x00\ud800-\udfff]")
_NOT_PRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def check_line(text: str) -> str:
    """Return `text` if it fits in a header.

    Raises ValueError for more than `MAX_LINE` characters, for line ends and control characters,
    which could start another header, and for lone surrogates, which have no UTF-8 form.
    """
    if len(text) > MAX_LINE:
        msg = f"must not be longer than {MAX_LINE} characters"
        raise ValueError(msg)
    if _NOT_IN_A_LINE.search(text):
        msg = "must be a single line without control characters or lone surrogates"
        raise ValueError(msg)
    return text


def check_text(text: str) -> str:
    """Return `text` if it fits in a body; raise ValueError for NUL and lone surrogates."""
    if _NOT_IN_A_TEXT.search(text):
        msg = "must not contain NUL characters or lone surrogates"
        raise ValueError(msg)
    return text


def printable(text: str) -> str:
    """Replace lone surrogates and control characters; tabs and line ends stay."""
    return _NOT_PRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """Make `text` printable, with every run of white space, line ends included, one space."""
    return " ".join(printable(text).split())
