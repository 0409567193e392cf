"""The notifier: tasks send e-mail through the backend that the settings name.

- `message.py` the message, its addresses and errors; `render_email` fills in templates
- `senders.py` the backends
- `settings.py` EMAIL_* and ALERT_*
- `tasks.py` `send_email`, the task that sends a message, with retries, limits and metrics
- `alerts.py` mails the operators when a task has failed, with `templates/task_failed/`
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
