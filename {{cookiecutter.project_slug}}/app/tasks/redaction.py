"""What exceptions and arguments say, fit to be stored, mailed and shown: short, without secrets."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from traceback import TracebackException, format_tb
from typing import Any

from pydantic import ValidationError

TEXT_LENGTH = 500
"""Characters of an exception's text that `describe_error` keeps."""
_LINE_LENGTH = 400
_LINES = 200
_FRAMES = 20
_TRACEBACK_LENGTH = 20_000
_NAME_LENGTH = 60
"""Characters at the end of a name that say whether it is the name of a secret."""

_AFTER_SLASHES = re.compile(r"//\S+")
_SECRETS = re.compile(
    r"""(?ix)
    (   (?: passw(?:or)?d | passphrase | pwd | secret | token | api[-_ ]?key )
        [\w-]{0,40} \\?["']? \s* (?: := | => | = | (?<!s): ) \s*
    |   \b bearer \s+ )
    (?: "(?:[^"\\]|\\.)*"? | '(?:[^'\\]|\\.)*'? | \S+ )"""
)


def redact(text: str, length: int) -> str:
    """Return the first `length` characters without secrets.

    Those are the credentials in URLs, and what is called a password, secret, token or API key. The
    text is cut first, which bounds the time that it takes; a URL that the cut goes through may
    have lost the @ that tells credentials, and is left out.
    """
    kept = text[:length]
    was_cut = len(text) > length

    def hide_credentials(url: re.Match[str]) -> str:
        _, at, rest = url[0].rpartition("@")
        if at:
            return f"//***@{rest}"
        return "//***" if was_cut and url.end() == len(kept) else url[0]

    return _SECRETS.sub(r"\1***", _AFTER_SLASHES.sub(hide_credentials, kept))


def describe_error(error: BaseException | None) -> str:
    """Return the type and first line of an exception, redacted; nothing if there is none.

    Of a group, and of pydantic's, the first line only counts what is wrong: the first of that is
    told, too.
    """
    if error is None:
        return ""
    # Cut first, and longer than what is kept: it may be the body of an answer, a million lines.
    first = (_text_of(error)[: 2 * TEXT_LENGTH].splitlines() or [""])[0]
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    if inner is not error:
        first = f"{first}: {describe_error(inner)}"
    elif isinstance(error, ValidationError):
        details = error.errors(include_url=False, include_context=False, include_input=False)
        for detail in details[:1]:
            first = f"{first}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    name = type(error).__name__
    return storable(redact(f"{name}: {first}" if first else name, TEXT_LENGTH))


def describe_traceback(error: BaseException | None) -> str:
    """Return the end of a traceback, redacted, with the last frames of each exception.

    It has 20,000 characters at most; none if there is no error. Local variables are left out, which
    hold passwords and personal data. If one of them has a text that is longer than what is kept, or
    attributes of a wrong type, only the last frames of `error` itself are told.
    """
    if error is None:
        return ""
    lines = [line for part in _formatted(error) for line in part.splitlines()][-_LINES:]
    redacted = (storable(redact(line, _LINE_LENGTH)) for line in lines)
    return "\n".join(redacted)[-_TRACEBACK_LENGTH:]


def _formatted(error: BaseException) -> list[str]:
    if all(len(_text_of(one)) <= _TRACEBACK_LENGTH for one in _all_in(error)):
        with suppress(Exception):  # of a SyntaxError whose line is no text, say
            whole = TracebackException.from_exception(error, limit=-_FRAMES, compact=True)
            return list(whole.format())
    return [*format_tb(error.__traceback__, -_FRAMES), describe_error(error)]


def describe_arguments(arguments: str) -> dict[str, Any] | None:
    """Return the stored arguments of a task by their names; None if they are not known.

    One that is long, or holds a secret, is a text: the first 500 characters, redacted.
    """
    try:
        values = json.loads(arguments, object_hook=_hide_secrets, parse_constant=str)
        return {name: _shown(value) for name, value in values.items()}
    except (ValueError, AttributeError, RecursionError):
        return None


def _hide_secrets(values: dict[str, Any]) -> dict[str, Any]:
    """Hide what stands under the name of a secret, whatever its type."""
    return {
        name: "***" if "***" in redact(f"{name[-_NAME_LENGTH:]}=x", TEXT_LENGTH) else value
        for name, value in values.items()
    }


def _shown(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = storable(redact(text, TEXT_LENGTH))
    return value if shown == text else shown


def _all_in(error: BaseException) -> Iterator[BaseException]:
    """Give an exception, those it came from, and those of a group."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    for one in left:
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            left += [one.__cause__, one.__context__]
            left += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - an exception that cannot be printed must do no more harm
        return "(no text)"


def storable(text: str) -> str:
    """Replace what neither a database nor a mail takes: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")
