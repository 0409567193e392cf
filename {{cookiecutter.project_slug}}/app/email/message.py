"""The message as a value: validated once, then safe to queue, to retry and to send."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage as MimeMessage
from email.policy import SMTP
from typing import Annotated, Self
from uuid import uuid4

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from .address import EmailAddress
from .text import check_line, check_text

MAX_RECIPIENTS = 100
"""What every SMTP server has to accept in one message (RFC 5321, section 4.5.3.1.8)."""


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _without_duplicates(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(addresses))


class EmailMessage(BaseModel):
    """One mail to one or more recipients, who see each other's addresses.

    It survives JSON, so it can be a task's argument. Its id and date are set when it is made:
    a retry sends the same message again, and the receiving side can tell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    to: Annotated[
        tuple[EmailAddress, ...],
        BeforeValidator(_one_or_many),
        AfterValidator(_without_duplicates),
        Field(min_length=1, max_length=MAX_RECIPIENTS),
    ]
    subject: Annotated[str, AfterValidator(check_line)]
    text: Annotated[str, AfterValidator(check_text)]
    html: Annotated[str, AfterValidator(check_text)] | None = None
    message_id: str = Field(default_factory=lambda: uuid4().hex, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """The part of the Message-ID before the @; the sender's domain stands after it."""
    created_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))

    def only_to(self, recipients: Sequence[str]) -> Self:
        """Return the same message, id included, for some of its recipients."""
        return self.model_copy(update={"to": tuple(recipients)})

    def to_mime(self, sender: Address) -> MimeMessage:
        """Return the message with its headers, ready for an SMTP server or an .eml file."""
        mime = MimeMessage(policy=SMTP)
        mime["From"] = sender
        mime["To"] = [_address(recipient) for recipient in self.to]
        mime["Subject"] = self.subject
        mime["Date"] = self.created_at
        # Not the host's name, which would tell the world about the inside of the network.
        mime["Message-ID"] = f"<{self.message_id}@{sender.domain}>"
        # Keeps "out of office" replies away (RFC 3834).
        mime["Auto-Submitted"] = "auto-generated"
        mime.set_content(self.text)
        if self.html is not None:
            mime.add_alternative(self.html, subtype="html")
        return mime


def _address(text: str) -> Address:
    # Address(addr_spec=...) would parse again, and refuses what is not ASCII.
    username, _, domain = text.rpartition("@")
    return Address(username=username, domain=domain)
