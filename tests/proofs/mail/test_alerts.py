"""Failure alerts: one mail per kind of failure and window, and no alerts about alerts."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from app.mail import (
    AlertSettings,
    EmailMessage,
    FailureAlerts,
    MemorySender,
    PermanentEmailError,
    current_sender,
)
from app.tasks import Retry, TaskInfo, TaskRunner, TaskSettings, task

from .conftest import Failures

WINDOW = 100.0


class Clock:
    """A clock that only the test advances."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@task(name="divide")
async def divide(number: int) -> float:
    return 1 / number


@task(name="import_file", timeout=0.01)
async def import_file() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def observer(clock: Clock) -> FailureAlerts:
    return FailureAlerts(AlertSettings(email_to="ops@example.com", window=WINDOW), clock)


@pytest.fixture
def sent() -> list[EmailMessage]:
    sender = MemorySender()
    current_sender.set(sender)
    return sender.sent


@pytest.fixture
async def runner(
    observer: FailureAlerts,
    sent: list[EmailMessage],  # noqa: ARG001 - set up first, so that the runner's tasks see it
) -> AsyncIterator[TaskRunner]:
    async with TaskRunner(TaskSettings(), [observer]) as runner:
        yield runner


async def fail(runner: TaskRunner, times: int = 1) -> None:
    for _ in range(times):
        runner.submit(divide, 0)
    await runner.join(5)


async def test_success_and_retries_send_no_alert(
    runner: TaskRunner, sent: list[EmailMessage]
) -> None:
    attempts = iter([0, 1])

    async def fail_once() -> None:
        await divide(next(attempts))

    runner.options(retry=Retry(attempts=2, delay=0.0)).submit(fail_once)
    await runner.join(5)
    assert sent == []
    assert runner.snapshot().retried == 1


async def test_alert_names_task_error_and_request(
    runner: TaskRunner, sent: list[EmailMessage]
) -> None:
    with structlog.contextvars.bound_contextvars(request_id="req-42"):
        task_id = runner.options(retry=Retry(attempts=3, delay=0.0)).submit(divide, 0)
    await runner.join(5)
    (mail,) = sent
    assert mail.to == "ops@example.com"
    assert mail.subject == "Task divide failed: ZeroDivisionError"
    facts = dict(line.split(":", 1) for line in mail.text.splitlines()[2:7])
    assert {name: value.strip() for name, value in facts.items()} == {
        "Error": "ZeroDivisionError: division by zero",
        "Task id": task_id,
        "Attempt": "3",
        "Outcome": "failed",
        "Request": "req-42",
    }
    assert "return 1 / number" in mail.text


async def test_failed_alert_causes_no_further_alert(
    observer: FailureAlerts, failures: Failures
) -> None:
    class Refusing:
        async def send(self, message: EmailMessage) -> None:
            raise PermanentEmailError(message.to)

    current_sender.set(Refusing())
    async with TaskRunner(TaskSettings(), [observer, failures]) as runner:
        await fail(runner)
    assert [type(error) for error in failures.final_errors] == [
        ZeroDivisionError,
        PermanentEmailError,
    ]


async def test_each_address_gets_one_alert_when_the_queue_is_full(clock: Clock) -> None:
    observer = FailureAlerts(AlertSettings(email_to="a@example.com,b@example.com"), clock)
    sender = MemorySender()
    current_sender.set(sender)
    settings = TaskSettings(max_concurrency=1, queue_size=1)
    async with TaskRunner(settings, [observer]) as runner:
        for _ in range(3):
            await fail(runner)
    assert sorted(mail.to for mail in sender.sent) == ["a@example.com", "b@example.com"]


async def test_no_alert_is_sent_without_an_address(sent: list[EmailMessage]) -> None:
    async with TaskRunner(TaskSettings(), [FailureAlerts(AlertSettings())]) as runner:
        await fail(runner)
    assert sent == []


async def test_timeout_outside_a_request_sends_an_alert(
    runner: TaskRunner, sent: list[EmailMessage]
) -> None:
    runner.submit(import_file)
    await runner.join(5)
    (mail,) = sent
    assert mail.subject == "Task import_file failed: TimeoutError"
    assert "Outcome:  timed_out" in mail.text
    assert "Request:" not in mail.text


async def test_one_alert_per_window_and_the_next_counts_the_failures(
    runner: TaskRunner, sent: list[EmailMessage], clock: Clock
) -> None:
    await fail(runner, times=4)
    clock.now += WINDOW - 1
    await fail(runner)
    assert [mail.subject for mail in sent] == ["Task divide failed: ZeroDivisionError"]
    clock.now += 1
    await fail(runner, times=2)
    assert [mail.subject for mail in sent[1:]] == [
        "Task divide failed: ZeroDivisionError (and 4 more before)"
    ]
    assert "4 more failures of this task" in sent[1].text
    clock.now += WINDOW
    await fail(runner)
    assert "1 more failure of this task" in sent[2].text
    clock.now += WINDOW
    await fail(runner)
    assert "more failure" not in sent[3].text


async def test_each_address_gets_its_own_mail(sent: list[EmailMessage], clock: Clock) -> None:
    settings = AlertSettings(email_to=("ann@example.com", "bob@example.com"), window=WINDOW)
    async with TaskRunner(TaskSettings(), [FailureAlerts(settings, clock)]) as runner:
        await fail(runner, times=3)
    assert [mail.to for mail in sent] == ["ann@example.com", "bob@example.com"]


async def test_every_task_and_exception_type_has_its_own_window(
    runner: TaskRunner, sent: list[EmailMessage]
) -> None:
    async def look_up() -> None:
        raise KeyError("x")

    async def look_further() -> None:
        raise IndexError("y")

    for func in (look_up, look_further, look_up):
        runner.submit(func)
    await fail(runner)
    assert len({mail.subject for mail in sent}) == len(sent) == 3


class AnnouncingSender(MemorySender):
    """Sets an event when it has sent a message."""

    def __init__(self) -> None:
        super().__init__()
        self.sent_one = asyncio.Event()

    async def send(self, message: EmailMessage) -> None:
        await super().send(message)
        self.sent_one.set()


async def test_alert_needs_neither_queue_capacity_nor_a_runner(observer: FailureAlerts) -> None:
    sender = AnnouncingSender()
    current_sender.set(sender)
    async with TaskRunner(TaskSettings(queue_size=1), [observer]) as runner, asyncio.timeout(5):
        runner.submit(divide, 0)
        other = runner.options(delay=60).submit(print, "takes the only capacity")
        await sender.sent_one.wait()
        runner.cancel(other)
    sender.sent_one.clear()
    observer.failed(TaskInfo("42", "divide", 5))
    async with asyncio.timeout(5):
        await sender.sent_one.wait()
    assert [mail.subject for mail in sender.sent] == [
        "Task divide failed: ZeroDivisionError",
        "Task divide failed: TimeoutError",
    ]


async def test_alert_has_no_local_variables(runner: TaskRunner, sent: list[EmailMessage]) -> None:
    async def log_in() -> None:
        password = "".join(["hun", "ter2"])
        raise ValueError(len(password))

    runner.submit(log_in)
    await runner.join(5)
    assert "raise ValueError" in sent[0].text
    assert "hunter2" not in sent[0].text


async def test_alert_redacts_secrets(runner: TaskRunner, sent: list[EmailMessage]) -> None:
    async def connect() -> None:
        raise ValueError("mysql://user:hunter2@host/db and password=hunter2")

    runner.submit(connect)
    await runner.join(5)
    assert sent[0].text.count("//***@host/db") >= 2
    assert "hunter2" not in sent[0].text


class UnprintableError(Exception):
    """An exception whose message cannot be read."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "error",
    [
        ValueError("\x00 \ud800 \x1b[31m\r\nBcc: bob@example.com"),
        ValueError("x" * 1_000_000),
        UnprintableError(),
        ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
        SystemExit(3),
    ],
)
async def test_any_exception_sends_an_alert_of_bounded_size(
    runner: TaskRunner, sent: list[EmailMessage], error: BaseException
) -> None:
    async def fail_badly() -> None:
        raise error

    runner.submit(fail_badly)
    await runner.join(5)
    (mail,) = sent
    assert mail.subject.endswith(f"failed: {type(error).__name__}")
    assert len(mail.text) < 50_000
