"""The backend for development: messages are written to the terminal, readable."""

import sys
from email.headerregistry import Address

from app.email.message import EmailMessage
from app.email.text import printable

_RULER = "-" * 72


class ConsoleSender:
    """Writes messages to standard output instead of sending them."""

    def __init__(self, sender: Address) -> None:
        self._sender = sender

    async def send(self, message: EmailMessage) -> None:
        """Write the message in one piece, so that two of them do not mix."""
        sys.stdout.write(_fit(self._format(message), sys.stdout.encoding))
        sys.stdout.flush()

    def _format(self, message: EmailMessage) -> str:
        lines = [
            _RULER,
            f"From: {self._sender}",
            f"To: {', '.join(message.to)}",
            f"Subject: {message.subject}",
            "",
            # The text may hold what a stranger wrote: no escape sequences for the terminal.
            printable(message.text).rstrip(),
        ]
        if message.html is not None:
            lines += ["", f"(and the same as HTML, {len(message.html)} characters)"]
        return "\n".join([*lines, _RULER, ""])


def _fit(text: str, encoding: str | None) -> str:
    """Write what the terminal cannot show as an escape: an emoji stops no task on Windows."""
    codec = encoding or "utf-8"
    return text.encode(codec, "backslashreplace").decode(codec)
