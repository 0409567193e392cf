"""E-mail addresses: one mailbox each, checked and written as they go on the wire."""

import re
from email.headerregistry import Address
from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field

from .text import check_line

_SENDER = re.compile(r"(?:(?P<name>[^<>]*)<(?P<bracketed>[^<>]*)>|(?P<bare>[^<>]*))")
_PRIVATE_DOMAIN = re.compile(r"@(?:.+\.)?(?:local|localhost|test)\Z", re.IGNORECASE)
_MAX_LENGTH = 320
"""Characters. RFC 5321 allows 64 before the @ and 255 after it, and patterns take their time."""
_PUBLIC_SUFFIX = ".example"


def normalize_address(text: str) -> str:
    """Return one bare address (no display name, no list) with its domain in ASCII.

    "a@Bücher.example" becomes "a@xn--bcher-kva.example", which every server understands. A local
    part beyond ASCII is kept and needs a server with SMTPUTF8. DNS is not asked.

    Raises ValueError with the reason for anything else.
    """
    if len(text) > _MAX_LENGTH:
        msg = f"not a valid e-mail address: it has more than {_MAX_LENGTH} characters"
        raise ValueError(msg)
    # email-validator refuses the names that only a machine or an intranet knows, but mail to
    # root@localhost is as good as any: such a name is checked as part of a public one.
    suffix = _PUBLIC_SUFFIX if _PRIVATE_DOMAIN.search(text) else ""
    try:
        parts = validate_email(text + suffix, check_deliverability=False)
    except EmailNotValidError as error:
        msg = f"not a valid e-mail address: {error}"
        raise ValueError(msg) from None
    return f"{parts.local_part}@{parts.ascii_domain.removesuffix(suffix)}"


def parse_sender(text: str) -> Address:
    """Read "Name <address>" or a bare address; raise ValueError for anything else."""
    match = _SENDER.fullmatch(check_line(text).strip())
    if match is None:
        msg = 'must be written like "My service <no-reply@example.com>"'
        raise ValueError(msg)
    name = (match["name"] or "").strip().removeprefix('"').removesuffix('"')
    address = normalize_address(match["bracketed"] or match["bare"] or "")
    username, _, domain = address.rpartition("@")
    return Address(name, username, domain)


def _check_sender(text: str) -> str:
    parse_sender(text)
    return text


EmailAddress = Annotated[
    str, AfterValidator(normalize_address), Field(json_schema_extra={"format": "email"})
]
"""A pydantic field that holds one normalized address."""

SenderAddress = Annotated[str, AfterValidator(_check_sender)]
"""A pydantic field that holds what `parse_sender` accepts."""
