"""What a task sees and may be: contexts of attempts and runners, partials, objects, the dead."""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.tasks import Retry, TaskRunner, TaskSettings, task

variable: ContextVar[str] = ContextVar("variable", default="unset")


async def test_what_one_attempt_sets_the_next_does_not_see() -> None:
    seen = []

    @task(retry=Retry(attempts=3, delay=0))
    async def fails() -> None:
        seen.append(variable.get())
        variable.set("by an attempt")
        raise ValueError

    async with TaskRunner(TaskSettings()) as runner:
        variable.set("by the submitter")
        runner.submit(fails)
        await runner.join(10)

    assert seen == ["by the submitter"] * 3


async def test_what_a_runner_provides_goes_before_what_a_submitter_has() -> None:
    seen = []

    async def work() -> None:
        seen.append(variable.get())

    first = TaskRunner(TaskSettings(), provided={variable: "first"})
    second = TaskRunner(TaskSettings(), provided={variable: "second"})
    async with first, second:
        variable.set("another")
        first.submit(work)
        second.submit(work)
        await first.join(10)
        await second.join(10)

    assert sorted(seen) == ["first", "second"]


class Sender:
    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    async def __call__(self, text: str, number: int) -> None:
        self.sent.append((text, number))


@pytest.mark.parametrize("wrapped", ["object", "partial", "partial of an object"])
async def test_a_partial_and_an_object_are_tasks_like_functions(wrapped: str) -> None:
    sender = Sender()

    async def send(text: str, number: int) -> None:
        await sender(text, number)

    funcs: dict[str, Callable[..., Any]] = {
        "object": sender,
        "partial": functools.partial(send, number=1),
        "partial of an object": functools.partial(sender, number=1),
    }
    decorated = task(name=wrapped)(funcs[wrapped])
    async with TaskRunner(TaskSettings()) as runner:
        runner.submit(decorated, "hi", number=2)
        await runner.join(10)

    assert sender.sent == [("hi", 2)]


async def test_a_time_zone_is_what_it_will_be_in_every_engine() -> None:
    seen = []

    @task
    async def remind(at: datetime) -> None:
        seen.append(at)

    due = datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    async with TaskRunner(TaskSettings()) as runner:
        runner.submit(remind, due)
        await runner.join(10)

    assert seen == [due]
    assert not isinstance(seen[0].tzinfo, ZoneInfo)  # JSON keeps the offset, and not its name
