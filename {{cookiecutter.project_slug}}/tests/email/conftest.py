"""Fixtures of the notifier's tests: a message, a sender, an SMTP server, a witness."""

import asyncio
from collections.abc import AsyncIterator
from email.headerregistry import Address

import pytest

from app.email import EmailMessage
from app.tasks import TaskInfo, TaskObserver

from .smtp_server import Mailbox, serve


class Failures(TaskObserver):
    """Remembers how tasks failed."""

    def __init__(self) -> None:
        self.retried_for: list[BaseException | None] = []
        self.failed_for: list[BaseException | None] = []
        self.noticed = asyncio.Event()

    def retried(self, info: TaskInfo) -> None:
        self.retried_for.append(info.error)

    def failed(self, info: TaskInfo) -> None:
        self.failed_for.append(info.error)
        self.noticed.set()


@pytest.fixture
def message() -> EmailMessage:
    return EmailMessage(to="ann@example.com", subject="Hello", text="How are you?\n")


@pytest.fixture
def sender() -> Address:
    return Address("Tests", "tests", "example.org")


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with serve(Mailbox()) as mailbox:
        yield mailbox


@pytest.fixture
def failures() -> Failures:
    return Failures()
