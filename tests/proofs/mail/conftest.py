"""Fixtures of the notifier's proofs: its tests' fixtures, an SMTP server, a task observer."""

from collections.abc import AsyncIterator

import pytest

from app.tasks import TaskInfo, TaskObserver
from tests.mail.conftest import message, sender

from .smtp_server import Mailbox, serve

__all__ = ["message", "sender"]


class Failures(TaskObserver):
    """An observer that collects the errors of failed and retried tasks."""

    def __init__(self) -> None:
        self.retry_errors: list[BaseException | None] = []
        self.final_errors: list[BaseException | None] = []

    def retried(self, info: TaskInfo) -> None:
        self.retry_errors.append(info.error)

    def failed(self, info: TaskInfo) -> None:
        self.final_errors.append(info.error)


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with serve(Mailbox()) as mailbox:
        yield mailbox


@pytest.fixture
def failures() -> Failures:
    return Failures()
