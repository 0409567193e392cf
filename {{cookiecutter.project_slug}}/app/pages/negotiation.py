"""Page or JSON? What the `Accept` header of a request asks for (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Mapping

from starlette.requests import HTTPConnection

_Type = tuple[str, str, Mapping[str, str]]
_PAGE: _Type = ("text", "html", {"charset": "utf-8"})
_JSON: _Type = ("application", "json", {})

_MAX_LENGTH = 2000
"""Characters that are read; a browser sends less than 200."""
_RANGE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
"""One element of the list; a comma in quotes does not end it."""
_PARAMETER = re.compile(r';\s*([^\s;="]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def prefers_html(request: HTTPConnection) -> bool:
    """Tell whether the caller would rather have a page than JSON.

    Browsers name `text/html`. Who does not care (no header, `*/*`) or likes both the same gets
    JSON. An answer that depends on this says `Vary: Accept`.
    """
    accept = ",".join(request.headers.getlist("accept"))[:_MAX_LENGTH]
    if "text" not in accept.lower() and "json" not in accept.lower():
        return False  # most programs; to read the list takes longer than to answer some requests
    return _quality(accept, _PAGE) > _quality(accept, _JSON)


def _quality(accept: str, offered: _Type) -> float:
    """Return how much a type is wanted, from 0 to 1: the q-value of the most specific range."""
    if not accept.strip():
        return 1.0
    matches = [_match(element, offered) for element in _RANGE.findall(accept)]
    closeness, quality = max(matches, default=(-1, 0.0))
    return quality if closeness >= 0 else 0.0


def _match(element: str, offered: _Type) -> tuple[int, float]:
    """Return how closely a range names the type, -1 for not at all, and its q-value."""
    main, sub, own = offered
    parameters = {
        name.lower(): (quoted or plain).lower()
        for name, quoted, plain in _PARAMETER.findall(element)
    }
    quality = parameters.pop("q", "1")
    if not _QUALITY.fullmatch(quality) or parameters.items() - own.items():
        return -1, 0.0  # such as level=1, which is another type
    closeness = {"*/*": 0, f"{main}/*": 1, f"{main}/{sub}": 2 + len(parameters)}
    return closeness.get(element.partition(";")[0].strip().lower(), -1), float(quality)
