"""Mail and alerts through the task runner: what is retried, and how often an alert is sent."""

from collections.abc import Sequence

import pytest

from app.mail import (
    AlertSettings,
    EmailMessage,
    FailureAlerts,
    MemorySender,
    TransientEmailError,
    current_sender,
    send_email,
)
from app.tasks import Retry, TaskRunner, TaskSettings, task

WINDOW = 100.0


class FlakySender(MemorySender):
    """Raises one of its `errors` at each call, and sends mail when none is left."""

    errors: Sequence[Exception] = ()

    async def send(self, message: EmailMessage) -> None:
        if self.errors:
            error, *self.errors = self.errors
            raise error
        await super().send(message)


@task(name="divide")
async def divide(number: int) -> float:
    return 1 / number


@pytest.fixture
def mail() -> FlakySender:
    sender = FlakySender()
    current_sender.set(sender)
    return sender


async def test_a_transient_error_is_retried(mail: FlakySender, message: EmailMessage) -> None:
    at_once = Retry(attempts=3, on=(TransientEmailError,), delay=0.0)
    mail.errors = [TransientEmailError("busy"), TransientEmailError("busy")]
    async with TaskRunner(TaskSettings(), in_memory=True) as runner:
        runner.options(retry=at_once).submit(send_email, message)
        await runner.join(5)
    assert mail.sent == [message]


async def test_a_window_has_one_alert_and_the_next_alert_counts_the_rest(mail: FlakySender) -> None:
    now = 0.0
    settings = AlertSettings(email_to="ops@example.com", window=WINDOW)
    alerts = FailureAlerts(settings, clock=lambda: now)
    async with TaskRunner(TaskSettings(), [alerts], in_memory=True) as runner:
        for failures in (5, 1):
            for _ in range(failures):
                runner.submit(divide, 0)
            await runner.join(5)
            now += WINDOW
    assert [alert.subject for alert in mail.sent] == [
        "Task divide failed: ZeroDivisionError",
        "Task divide failed: ZeroDivisionError (and 4 more before)",
    ]
