"""Mail through the task runner: what is tried again, and for whom."""

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
AT_ONCE = Retry(attempts=5, on=(TransientEmailError,), delay=0.0)


@pytest.fixture
async def runner(
    mailbox: Mailbox,
    failures: Failures,
) -> AsyncIterator[TaskRunner]:
    token = current_sender.set(SmtpSender(parse_sender(SENDER), mailbox.settings()))
    async with TaskRunner(TaskSettings(), [failures], in_memory=True) as runner:
        yield runner
    current_sender.reset(token)


@pytest.mark.parametrize("mail_task", [send_email, send_alert])
def test_only_what_may_work_later_is_tried_again(mail_task: MailTask) -> None:
    retry = mail_task.retry
    assert retry is not None
    assert retry.wants(TransientEmailError(), 1)
    assert not retry.wants(TransientEmailError(), 10)
    assert not retry.wants(PermanentEmailError(), 1)


def test_a_server_may_be_away_for_a_quarter_of_an_hour() -> None:
    retry = send_email.retry
    assert retry is not None
    times = [sum(retry.wait(attempt) for attempt in range(1, retry.attempts)) for _ in range(1000)]
    assert sum(times) / len(times) > 1200  # it is 1,665, give or take 12


async def test_a_retry_of_a_mail_that_did_arrive_carries_the_same_id(
    runner: TaskRunner, mailbox: Mailbox, failures: Failures, message: EmailMessage
) -> None:
    mailbox.data = ["drop", "451 busy"]
    runner.options(retry=AT_ONCE).submit(send_email, message)
    await runner.join(5)
    assert [type(error) for error in failures.retried_for] == [TransientEmailError] * 2
    first, second = mailbox.mails
    assert first["Message-ID"] == second["Message-ID"] == f"<{message.message_id}@example.org>"
    assert first.as_bytes() == second.as_bytes()


async def test_what_the_server_never_accepts_fails_at_once(
    runner: TaskRunner, mailbox: Mailbox, failures: Failures, message: EmailMessage
) -> None:
    mailbox.recipients["ann@example.com"] = ["550 no such user"]
    runner.submit(send_email, message)
    await runner.join(5)
    assert failures.retried_for == []
    assert [type(error) for error in failures.failed_for] == [PermanentEmailError]
