"""Failure alerts: one mail for each kind of failure and window, and no loop."""

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
    """Time that passes when the test says so."""

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


async def test_success_and_retries_are_no_news(
    runner: TaskRunner, sent: list[EmailMessage]
) -> None:
    attempts = iter([0, 1])

    async def fail_once() -> None:
        await divide(next(attempts))

    runner.options(retry=Retry(attempts=2, delay=0.0)).submit(fail_once)
    await runner.join(5)
    assert sent == []
    assert runner.snapshot().retried == 1


async def test_what_an_alert_says(runner: TaskRunner, sent: list[EmailMessage]) -> None:
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


async def test_an_alert_that_fails_raises_no_alert(
    observer: FailureAlerts, failures: Failures
) -> None:
    class Refusing:
        async def send(self, message: EmailMessage) -> None:
            raise PermanentEmailError(message.to)

    current_sender.set(Refusing())
    async with TaskRunner(TaskSettings(), [observer, failures]) as runner:
        await fail(runner)
    assert [type(error) for error in failures.failed_for] == [
        ZeroDivisionError,
        PermanentEmailError,
    ]


async def test_each_of_two_is_told_once_when_the_queue_is_full(clock: Clock) -> None:
    observer = FailureAlerts(AlertSettings(email_to="a@example.com,b@example.com"), clock)
    sender = MemorySender()
    current_sender.set(sender)
    settings = TaskSettings(max_concurrency=1, queue_size=1)
    async with TaskRunner(settings, [observer]) as runner:
        for _ in range(3):
            await fail(runner)
    assert sorted(mail.to for mail in sender.sent) == ["a@example.com", "b@example.com"]


async def test_nobody_to_tell(sent: list[EmailMessage]) -> None:
    async with TaskRunner(TaskSettings(), [FailureAlerts(AlertSettings())]) as runner:
        await fail(runner)
    assert sent == []


async def test_a_timeout_is_told_without_a_request(
    runner: TaskRunner, sent: list[EmailMessage]
) -> None:
    runner.submit(import_file)
    await runner.join(5)
    (mail,) = sent
    assert mail.subject == "Task import_file failed: TimeoutError"
    assert "Outcome:  timed_out" in mail.text
    assert "Request:" not in mail.text


async def test_one_mail_a_window_and_a_count_in_the_next(
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


async def test_each_address_gets_a_mail_of_its_own(sent: list[EmailMessage], clock: Clock) -> None:
    settings = AlertSettings(email_to=("ann@example.com", "bob@example.com"), window=WINDOW)
    async with TaskRunner(TaskSettings(), [FailureAlerts(settings, clock)]) as runner:
        await fail(runner, times=3)
    assert [mail.to for mail in sent] == ["ann@example.com", "bob@example.com"]


async def test_every_task_and_type_has_its_own_window(
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


class NotingSender(MemorySender):
    """Tells when it has sent something."""

    def __init__(self) -> None:
        super().__init__()
        self.noticed = asyncio.Event()

    async def send(self, message: EmailMessage) -> None:
        await super().send(message)
        self.noticed.set()


async def test_an_alert_needs_no_room_in_the_queue_and_no_runner(observer: FailureAlerts) -> None:
    sender = NotingSender()
    current_sender.set(sender)
    async with TaskRunner(TaskSettings(queue_size=1), [observer]) as runner, asyncio.timeout(5):
        runner.submit(divide, 0)
        other = runner.options(delay=60).submit(print, "takes the only room")
        await sender.noticed.wait()
        runner.cancel(other)
    sender.noticed.clear()
    observer.failed(TaskInfo("42", "divide", 5))
    async with asyncio.timeout(5):
        await sender.noticed.wait()
    assert [mail.subject for mail in sender.sent] == [
        "Task divide failed: ZeroDivisionError",
        "Task divide failed: TimeoutError",
    ]


async def test_local_variables_stay_here(runner: TaskRunner, sent: list[EmailMessage]) -> None:
    async def log_in() -> None:
        password = "".join(["hun", "ter2"])
        raise ValueError(len(password))

    runner.submit(log_in)
    await runner.join(5)
    assert "raise ValueError" in sent[0].text
    assert "hunter2" not in sent[0].text


async def test_secrets_stay_here(runner: TaskRunner, sent: list[EmailMessage]) -> None:
    async def connect() -> None:
        raise ValueError("mysql://user:hunter2@host/db and password=hunter2")

    runner.submit(connect)
    await runner.join(5)
    assert sent[0].text.count("//***@host/db") >= 2
    assert "hunter2" not in sent[0].text


class UnprintableError(Exception):
    """An exception that cannot even say what it is."""

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
async def test_whatever_was_raised_is_told(
    runner: TaskRunner, sent: list[EmailMessage], error: BaseException
) -> None:
    async def fail_badly() -> None:
        raise error

    runner.submit(fail_badly)
    await runner.join(5)
    (mail,) = sent
    assert mail.subject.endswith(f"failed: {type(error).__name__}")
    assert len(mail.text) < 50_000
