"""The notifier: e-mail as values, sent by tasks through a backend that settings choose.

- `message.py` the message, `address.py` and `text.py` what it may hold, `templates.py` messages
  from Jinja templates
- `sender.py` what a backend does and which one is in use; `backends/` one a file; `errors.py`
  what can go wrong, told apart by what to do about it; `settings.py` EMAIL_* and ALERT_*
- `tasks.py` `send_email`: submit it, and the mail has retries, limits and metrics
- `alerts.py` mails the operators when a task has failed, from `templates/task_failed/`
"""

from .address import EmailAddress
from .alerts import FailureAlerts
from .backends.console import ConsoleSender
from .backends.file import FileSender
from .backends.memory import MemorySender
from .errors import EmailError, PartialRefusalError, PermanentEmailError, TransientEmailError
from .message import EmailMessage
from .sender import EmailSender, create_sender, current_sender
from .settings import AlertSettings, EmailSettings
from .tasks import send_alert, send_email
from .templates import render_email

__all__ = [
    "AlertSettings",
    "ConsoleSender",
    "EmailAddress",
    "EmailError",
    "EmailMessage",
    "EmailSender",
    "EmailSettings",
    "FailureAlerts",
    "FileSender",
    "MemorySender",
    "PartialRefusalError",
    "PermanentEmailError",
    "TransientEmailError",
    "create_sender",
    "current_sender",
    "render_email",
    "send_alert",
    "send_email",
]
