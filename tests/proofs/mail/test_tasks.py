"""Mail sent by the task runner: which errors are retried, and how."""

from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from app.mail import (
    EmailMessage,
    PermanentEmailError,
    TransientEmailError,
    current_sender,
    send_alert,
    send_email,
)
from app.mail.message import parse_sender
from app.mail.senders import SmtpSender
from app.tasks import Retry, Task, TaskRunner, TaskSettings

from .conftest import Failures
from .smtp_server import SENDER, Mailbox

MailTask = Task[[EmailMessage], Coroutine[Any, Any, None]]
WITHOUT_DELAY = Retry(attempts=5, on=(TransientEmailError,), delay=0.0)


@pytest.fixture
async def runner(mailbox: Mailbox, failures: Failures) -> AsyncIterator[TaskRunner]:
    token = current_sender.set(SmtpSender(parse_sender(SENDER), mailbox.settings()))
    async with TaskRunner(TaskSettings(), [failures], in_memory=True) as runner:
        yield runner
    current_sender.reset(token)


@pytest.mark.parametrize("mail_task", [send_email, send_alert])
def test_only_transient_errors_are_retried(mail_task: MailTask) -> None:
    retry = mail_task.retry
    assert retry is not None
    assert retry.wants(TransientEmailError(), 1)
    assert not retry.wants(TransientEmailError(), 10)
    assert not retry.wants(PermanentEmailError(), 1)


def test_retries_cover_a_quarter_of_an_hour() -> None:
    retry = send_email.retry
    assert retry is not None
    times = [sum(retry.wait(attempt) for attempt in range(1, retry.attempts)) for _ in range(1000)]
    assert sum(times) / len(times) > 1200  # measured: 1,665 +- 12


async def test_retried_mail_has_the_same_id_and_content(
    runner: TaskRunner, mailbox: Mailbox, failures: Failures, message: EmailMessage
) -> None:
    mailbox.data = ["drop", "451 busy"]
    runner.options(retry=WITHOUT_DELAY).submit(send_email, message)
    await runner.join(5)
    assert [type(error) for error in failures.retry_errors] == [TransientEmailError] * 2
    first, second = mailbox.mails
    assert first["Message-ID"] == second["Message-ID"] == f"<{message.message_id}@example.org>"
    assert first.as_bytes() == second.as_bytes()


async def test_permanently_refused_mail_fails_without_a_retry(
    runner: TaskRunner, mailbox: Mailbox, failures: Failures, message: EmailMessage
) -> None:
    mailbox.recipients["ann@example.com"] = ["550 no such user"]
    runner.submit(send_email, message)
    await runner.join(5)
    assert failures.retry_errors == []
    assert [type(error) for error in failures.final_errors] == [PermanentEmailError]
