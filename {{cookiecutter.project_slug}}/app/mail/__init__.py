"""The notifier: e-mail as values, sent by tasks through a backend that settings choose.

- `message.py` the message, its addresses and errors; `render_email` makes one of templates
- `senders.py` the backends and the choice among them
- `settings.py` EMAIL_* and ALERT_*
- `tasks.py` `send_email`: submit it, and the mail has retries, limits and metrics
- `alerts.py` mails the operators when a task has failed, from `templates/task_failed/`
"""

from .alerts import FailureAlerts
from .message import (
    EmailAddress,
    EmailMessage,
    PermanentEmailError,
    TransientEmailError,
    render_email,
)
from .senders import EmailSender, MemorySender, create_sender, current_sender
from .settings import AlertSettings, EmailSettings
from .tasks import send_alert, send_email

__all__ = [
    "AlertSettings",
    "EmailAddress",
    "EmailMessage",
    "EmailSender",
    "EmailSettings",
    "FailureAlerts",
    "MemorySender",
    "PermanentEmailError",
    "TransientEmailError",
    "create_sender",
    "current_sender",
    "render_email",
    "send_alert",
    "send_email",
]
