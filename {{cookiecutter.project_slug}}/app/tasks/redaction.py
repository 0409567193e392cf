"""Exceptions and arguments as short texts without secrets, to store, mail and show."""

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
"""Characters at the end of a name that are searched for the words of secrets."""

_AFTER_SLASHES = re.compile(r"//\S+")
_SECRETS = re.compile(
    r"""(?ix)
    (   (?: passw(?:or)?d | passphrase | pwd | secret | token | api[-_ ]?key )
        [\w-]{0,40} \\?["']? \s* (?: := | => | = | (?<!s): ) \s*
    |   \b bearer \s+ )
    (?: "(?:[^"\\]|\\.)*"? | '(?:[^'\\]|\\.)*'? | \S+ )
    | (?: (?<= ,[ ]input_value= ) | (?<= \)=\( ) | (?<= row[ ]contains[ ]\( ) )
      (?: .{0,99} (?= ,[ ]input_type= ) | .* )"""
)


def redact(text: str, length: int) -> str:
    """Return the first `length` characters of a text, with `***` instead of secrets.

    Secrets are credentials in URLs, values that are called a password, secret, token or API key,
    and what errors of pydantic and databases quote. The text is cut first, to bound the time this
    takes. A URL that was cut is hidden, since it may have lost the @ that marks credentials.
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
    """Return the type and first line of an exception, redacted; empty if there is none.

    The first line of a group, and of a ValidationError of pydantic, only counts errors, so the
    first of these errors is added.
    """
    if error is None:
        return ""
    # Cut before it is split: it may be the body of a response, with a million lines.
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

    It has 20,000 characters at most, none without an error, and no local variables. If an exception
    has a longer text or cannot be formatted, only the last frames of `error` itself are returned.
    """
    if error is None:
        return ""
    lines = [line for part in _formatted(error) for line in part.splitlines()][-_LINES:]
    redacted = (storable(redact(line, _LINE_LENGTH)) for line in lines)
    return "\n".join(redacted)[-_TRACEBACK_LENGTH:]


def _formatted(error: BaseException) -> list[str]:
    if all(len(_text_of(each)) <= _TRACEBACK_LENGTH for each in _related_errors(error)):
        with suppress(Exception):  # it fails for a SyntaxError whose line is not a str
            whole = TracebackException.from_exception(error, limit=-_FRAMES, compact=True)
            return list(whole.format())
    return [*format_tb(error.__traceback__, -_FRAMES), describe_error(error)]


def describe_arguments(arguments: str) -> dict[str, Any] | None:
    """Return the stored arguments of a task by name; None if they are unknown.

    A long argument, or one with a secret, is returned as text: its first 500 characters, redacted.
    """
    try:
        values = json.loads(arguments, object_hook=_hide_secrets, parse_constant=str)
        return {name: _redacted(value) for name, value in values.items()}
    except (ValueError, AttributeError, RecursionError):
        return None


def _hide_secrets(values: dict[str, Any]) -> dict[str, Any]:
    """Hide the values, of any type, whose name is that of a secret."""
    return {
        name: "***" if "***" in redact(f"{name[-_NAME_LENGTH:]}=x", TEXT_LENGTH) else value
        for name, value in values.items()
    }


def _redacted(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    redacted = storable(redact(text, TEXT_LENGTH))
    return value if redacted == text else redacted


def _related_errors(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception with its causes and contexts, and the members of groups among them."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    for each in pending:
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            pending += [each.__cause__, each.__context__]
            pending += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - an exception that cannot be printed must do no more harm
        return "(no text)"


def storable(text: str) -> str:
    """Replace characters that databases and mails refuse: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")
