"""Mail through the task runner: what is tried again, and for whom."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from fastapi import FastAPI

from app.db import Database, DatabaseSettings, current_database, task_session
from app.mail import (
    EmailMessage,
    PermanentEmailError,
    TransientEmailError,
    current_sender,
    send_alert,
    send_email,
)
from app.mail.message import parse_sender
from app.mail.smtp import SmtpSender
from app.tasks import QueueFull, Retry, Task, TaskRunner, TaskSettings

from .conftest import Failures
from .smtp_server import SENDER, Mailbox

MailTask = Task[[EmailMessage], Coroutine[Any, Any, None]]
MANY = EmailMessage(
    to=["ann@example.com", "bob@example.com", "cem@example.com"], subject="Hello", text="Hi"
)
AT_ONCE = Retry(attempts=5, on=(TransientEmailError,), delay=0.0)


@pytest.fixture
async def database() -> AsyncIterator[None]:
    """Give tasks a database; nothing is written to it, since these tasks run in memory."""
    async with Database(DatabaseSettings()) as database:
        token = current_database.set(database)
        yield
        current_database.reset(token)


@pytest.fixture
async def runner(
    mailbox: Mailbox,
    failures: Failures,
    database: None,  # noqa: ARG001 - it is there while the tasks run
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
    assert not retry.wants(TransientEmailError(), 5)
    assert not retry.wants(PermanentEmailError(), 1)


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


async def test_nobody_gets_a_message_twice(
    runner: TaskRunner, mailbox: Mailbox, failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ann is accepted, Bob never, Cem at the second attempt."""
    monkeypatch.setattr(send_email, "retry", AT_ONCE)
    mailbox.recipients["bob@example.com"] = ["550 no such user"]
    mailbox.recipients["cem@example.com"] = ["451 greylisted"]
    runner.submit(send_email, MANY)
    await runner.join(5)
    assert sorted(mailbox.envelopes) == [["ann@example.com"], ["cem@example.com"]]
    assert {mail["Message-ID"] for mail in mailbox.mails} == {f"<{MANY.message_id}@example.org>"}
    (error,) = failures.failed_for
    assert [type(error) for error in failures.retried_for] == [TransientEmailError]
    assert isinstance(error, PermanentEmailError)
    assert "550 no such user" in str(error)


async def test_a_durable_mail_to_several_is_one_for_each(
    app: FastAPI, outbox: list[EmailMessage]
) -> None:
    async with task_session():
        app.state.runner.submit(send_email, MANY)
    await app.state.runner.join(5)
    assert sorted(mail.to for mail in outbox) == [(address,) for address in MANY.to]
    assert {mail.message_id for mail in outbox} == {MANY.message_id}


@pytest.mark.usefixtures("database")
async def test_recipients_that_are_not_served_are_not_lost_in_silence(
    mailbox: Mailbox, failures: Failures
) -> None:
    current_sender.set(SmtpSender(parse_sender(SENDER), mailbox.settings()))
    async with TaskRunner(TaskSettings(queue_size=1), [failures], in_memory=True) as runner:
        runner.submit(send_email, MANY)
        other = runner.options(delay=60).submit(print, "takes the only place")
        async with asyncio.timeout(5):
            await failures.noticed.wait()
        runner.cancel(other)
    (error,) = failures.failed_for
    assert isinstance(error, QueueFull)
