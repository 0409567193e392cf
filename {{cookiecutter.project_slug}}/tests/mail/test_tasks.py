"""Mail and alerts through the task runner: what is sent, tried again, and told to whom."""

from collections.abc import AsyncIterator

import pytest
import structlog

from app.mail import (
    AlertSettings,
    EmailMessage,
    FailureAlerts,
    MemorySender,
    PermanentEmailError,
    TransientEmailError,
    current_sender,
    send_email,
)
from app.tasks import Retry, TaskRunner, TaskSettings, task

WINDOW = 100.0
AT_ONCE = Retry(attempts=3, on=(TransientEmailError,), delay=0.0)


class Clock:
    """Time that passes when the test says so."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Sender(MemorySender):
    """Raises the errors that it is given before it sends anything."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = []
        self.attempts = 0

    async def send(self, message: EmailMessage) -> None:
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        await super().send(message)


@task(name="divide")
async def divide(number: int) -> float:
    return 1 / number


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mail() -> Sender:
    sender = Sender()
    current_sender.set(sender)
    return sender


@pytest.fixture
async def engine(clock: Clock, mail: Sender) -> AsyncIterator[TaskRunner]:  # noqa: ARG001 - first
    alerts = FailureAlerts(AlertSettings(email_to="ops@example.com", window=WINDOW), clock)
    async with TaskRunner(TaskSettings(), [alerts], in_memory=True) as runner:
        yield runner


async def fail(engine: TaskRunner, times: int = 1) -> None:
    for _ in range(times):
        engine.submit(divide, 0)
    await engine.join(5)


async def test_a_mail_is_tried_again_if_that_may_help(
    engine: TaskRunner, mail: Sender, message: EmailMessage
) -> None:
    mail.errors = [TransientEmailError("busy"), TransientEmailError("busy")]
    engine.options(retry=AT_ONCE).submit(send_email, message)
    await engine.join(5)
    assert mail.sent == [message]


async def test_a_mail_that_nobody_takes_fails_at_once(
    engine: TaskRunner, mail: Sender, message: EmailMessage
) -> None:
    mail.errors = [PermanentEmailError("no such user")]
    engine.submit(send_email, message)
    await engine.join(5)
    (alert,) = mail.sent
    assert alert.subject == "Task send_email failed: PermanentEmailError"
    assert mail.attempts == 2


async def test_what_an_alert_says(engine: TaskRunner, mail: Sender) -> None:
    with structlog.contextvars.bound_contextvars(request_id="req-42"):
        task_id = engine.options(retry=Retry(attempts=3, delay=0.0)).submit(divide, 0)
    await engine.join(5)
    (alert,) = mail.sent
    assert alert.to == "ops@example.com"
    assert alert.subject == "Task divide failed: ZeroDivisionError"
    facts = dict(line.split(":", 1) for line in alert.text.splitlines()[2:7])
    assert {name: value.strip() for name, value in facts.items()} == {
        "Error": "ZeroDivisionError: division by zero",
        "Task id": task_id,
        "Attempt": "3",
        "Outcome": "failed",
        "Request": "req-42",
    }
    assert "return 1 / number" in alert.text


async def test_one_alert_a_window_and_a_count_in_the_next(
    engine: TaskRunner, mail: Sender, clock: Clock
) -> None:
    await fail(engine, times=5)
    assert [alert.subject for alert in mail.sent] == ["Task divide failed: ZeroDivisionError"]
    clock.now += WINDOW
    await fail(engine)
    assert mail.sent[1].subject == "Task divide failed: ZeroDivisionError (and 4 more before)"


async def test_an_alert_that_fails_raises_no_alert(engine: TaskRunner, mail: Sender) -> None:
    mail.errors = [PermanentEmailError("no such user")]
    await fail(engine)
    assert (mail.attempts, mail.sent) == (1, [])


async def test_nobody_to_tell(mail: Sender) -> None:
    async with TaskRunner(TaskSettings(), [FailureAlerts(AlertSettings())]) as runner:
        await fail(runner)
    assert mail.sent == []
