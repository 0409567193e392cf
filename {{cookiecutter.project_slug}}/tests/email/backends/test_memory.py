"""The memory backend: what was sent, in order."""

from app.email import EmailMessage, MemorySender


async def test_it_keeps_what_was_sent(message: EmailMessage) -> None:
    sender = MemorySender()
    other = EmailMessage(to="bob@example.com", subject="Hello", text="t")
    await sender.send(message)
    await sender.send(other)
    assert sender.sent == [message, other]
