"""The message, validated once and then safe to queue, retry and send; addresses and errors."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage as MimeMessage
from email.policy import SMTP
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from app.templates import render

_SENDER = re.compile(r'"?(?P<name>[^<>"]*)"?\s*<(?P<address>[^<>]*)>')
_PRIVATE_DOMAIN = re.compile(r"@(?:.+\.)?(?:local|localhost|test)\Z", re.IGNORECASE)
_ENCODED_WORD = re.compile(r"=(?=\?.*\?=)")
"""Start of an encoded word (RFC 2047). Python decodes it, and a line end inside ends the header."""
_NOT_PRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def normalize_address(text: str) -> str:
    """Return a single bare address (no display name, no list) with its domain in ASCII.

    "a@Bücher.example" becomes "a@xn--bcher-kva.example", which every server understands. A local
    part beyond ASCII is kept, and needs a server with SMTPUTF8. Nothing is looked up in DNS.

    Raises ValueError with the reason if the text is not an address.
    """
    # email-validator refuses the names of machines and intranets, although root@localhost is a
    # valid recipient. With a public suffix such a name passes, and the rest is checked.
    suffix = ".example" if _PRIVATE_DOMAIN.search(text[-255:]) else ""
    try:
        parts = validate_email(text + suffix, check_deliverability=False)
    except EmailNotValidError as error:
        msg = f"not a valid e-mail address: {error}"
        raise ValueError(msg) from None
    if _ENCODED_WORD.search(parts.local_part):
        msg = "not a valid e-mail address: it contains an encoded word, =?...?="
        raise ValueError(msg)
    return f"{parts.local_part}@{parts.ascii_domain.removesuffix(suffix)}"


def parse_sender(text: str) -> Address:
    """Parse "Name <address>" or a bare address; raise ValueError for anything else."""
    match = _SENDER.fullmatch(text.strip())
    name, address = (match["name"], match["address"]) if match else ("", text)
    username, _, domain = normalize_address(address).rpartition("@")
    return Address(name.strip(), username, domain)


def printable(text: str) -> str:
    """Replace lone surrogates and control characters; tabs and line ends stay."""
    return _NOT_PRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """Make `text` printable, and each run of white space and line ends a single space."""
    return " ".join(printable(text).split())


def _check_sender(text: str) -> str:
    parse_sender(text)
    return text


EmailAddress = Annotated[
    str, AfterValidator(normalize_address), Field(json_schema_extra={"format": "email"})
]
"""A pydantic field that holds one normalized address."""
# With a pattern, pydantic also refuses lone surrogates, which cannot be encoded in UTF-8. The
# length is limited because folding a header of 100 kB takes seconds.
Line = Annotated[str, Field(max_length=998, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]
"""A pydantic field for a header: without line ends, it cannot start another header."""
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""A pydantic field for a body."""
SenderAddress = Annotated[Line, AfterValidator(_check_sender)]
"""A pydantic field for a sender that `parse_sender` accepts."""


class TransientEmailError(Exception):
    """The message was probably not delivered, and a later attempt may succeed: send it again."""


class PermanentEmailError(Exception):
    """Every attempt would fail in the same way until the cause is corrected."""


class EmailMessage(BaseModel):
    """One mail to one recipient. It can be written as JSON, and so be a task's argument.

    Its id and date are set when it is created, so that a retry sends the same message again, and
    the receiving side can recognize it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    to: EmailAddress
    subject: Line
    text: Text
    html: Text | None = None
    message_id: str = Field(default_factory=lambda: uuid4().hex, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """The part of the Message-ID before the @; the sender's domain is the part after it."""
    created_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))

    def to_mime(self, sender: Address) -> MimeMessage:
        """Return the message with its headers, ready for an SMTP server or an .eml file."""
        mime = MimeMessage(policy=SMTP)
        mime["From"] = sender
        # Address(addr_spec=...) would parse the address again, and refuse any beyond ASCII.
        username, _, domain = self.to.rpartition("@")
        mime["To"] = Address(username=username, domain=domain)
        mime["Subject"] = _ENCODED_WORD.sub("=\N{WORD JOINER}", self.subject)
        mime["Date"] = self.created_at
        # The sender's domain, because the name of this host would disclose the inside of a network.
        mime["Message-ID"] = f"<{self.message_id}@{sender.domain}>"
        # Prevents "out of office" replies (RFC 3834).
        mime["Auto-Submitted"] = "auto-generated"
        mime.set_content(self.text)
        if self.html is not None:
            mime.add_alternative(self.html, subtype="html")
        return mime


def render_email(
    directory: Path, name: str, *, to: str, context: Mapping[str, object]
) -> EmailMessage:
    """Render a message from the templates in the folder `directory / name`.

    `subject.txt.j2` and `body.txt.j2` are required, `body.html.j2` is optional. The context may
    contain any text: characters that cannot be mailed are replaced, and the subject becomes one
    line of at most 200 characters.

    Raises jinja2.TemplateNotFound when the subject or the text is missing, jinja2.UndefinedError
    for a variable without a value, and ValidationError for an invalid recipient.
    """

    def part(file: str) -> str:
        return printable(render(f"{name}/{file}", context, directory))

    has_html = (directory / name / "body.html.j2").is_file()
    return EmailMessage(
        to=to,
        subject=one_line(part("subject.txt.j2")[:200]),
        text=part("body.txt.j2"),
        html=part("body.html.j2") if has_html else None,
    )
