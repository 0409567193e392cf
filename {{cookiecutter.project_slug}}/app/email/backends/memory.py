"""The backend for tests: messages are kept in a list."""

from app.email.message import EmailMessage


class MemorySender:
    """Keeps every message in `sent`, the oldest first. Forgets none: not for production."""

    def __init__(self) -> None:
        self.sent: list[EmailMessage] = []

    async def send(self, message: EmailMessage) -> None:
        """Append the message to `sent`."""
        self.sent.append(message)
