"""Fixtures of the notifier's proofs: those of its tests, an SMTP server, a witness."""

from collections.abc import AsyncIterator

import pytest

from app.tasks import TaskInfo, TaskObserver
from tests.mail.conftest import message, sender

from .smtp_server import Mailbox, serve

__all__ = ["message", "sender"]


class Failures(TaskObserver):
    """Remembers how tasks failed."""

    def __init__(self) -> None:
        self.retried_for: list[BaseException | None] = []
        self.failed_for: list[BaseException | None] = []

    def retried(self, info: TaskInfo) -> None:
        self.retried_for.append(info.error)

    def failed(self, info: TaskInfo) -> None:
        self.failed_for.append(info.error)


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with serve(Mailbox()) as mailbox:
        yield mailbox


@pytest.fixture
def failures() -> Failures:
    return Failures()
