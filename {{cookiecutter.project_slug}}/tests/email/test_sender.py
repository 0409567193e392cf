"""The choice of the backend."""

from typing import Any

import pytest

from app.email import (
    ConsoleSender,
    EmailSettings,
    FileSender,
    MemorySender,
    create_sender,
)
from app.email.backends.smtp import SmtpSender


@pytest.mark.parametrize(
    ("backend", "kind"),
    [
        ("console", ConsoleSender),
        ("file", FileSender),
        ("memory", MemorySender),
        ("smtp", SmtpSender),
    ],
)
def test_the_settings_choose(backend: Any, kind: type[object]) -> None:
    settings = EmailSettings(backend=backend, smtp_host="mail.example.com")
    assert type(create_sender(settings)) is kind
