"""Snooze: a task asks to run again later, which is neither a failure nor an attempt."""

import asyncio
import logging

import pytest

from app.tasks import (
    LoggingObserver,
    Retry,
    Snooze,
    TaskInfo,
    TaskObserver,
    TaskRunner,
    TaskSettings,
    task,
)

from .recorder import Recorder
from .virtual_time import ON_VIRTUAL_TIME

pytestmark = ON_VIRTUAL_TIME


class Attempts(TaskObserver):
    """Keeps attempt, delay and error of every retry."""

    def __init__(self) -> None:
        self.retried_with: list[tuple[int, float | None, BaseException | None]] = []

    def retried(self, info: TaskInfo) -> None:
        self.retried_with.append((info.attempt, info.retry_in, info.error))


async def test_a_snooze_is_not_an_attempt(recorder: Recorder) -> None:
    begun: list[float] = []

    @task(retry=Retry(attempts=2, delay=0))
    async def wait() -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) <= 5:
            raise Snooze(100)
        if len(begun) == 6:
            raise ValueError

    attempts = Attempts()
    async with TaskRunner(TaskSettings(queue_size=1), [recorder, attempts]) as runner:
        runner.submit(wait)
        await runner.join(1000)
        assert runner._capacity.reserved == 0
    assert recorder.hooks == ["queued", *["started", "retried"] * 6, "started", "succeeded"]
    assert begun[5] - begun[0] == pytest.approx(500, abs=1)  # five snoozes of 100 s
    *snoozed, failed = attempts.retried_with
    assert snoozed == [(0, 100, None)] * 5
    assert (failed[0], type(failed[2])) == (1, ValueError)
    assert recorder.infos[0].attempt == 2


async def test_a_snooze_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[int] = []

    async def wait() -> None:
        begun.append(1)
        if len(begun) == 1:
            raise Snooze(1)

    caplog.set_level(logging.INFO, logger="app.tasks")
    async with TaskRunner(TaskSettings(), [LoggingObserver()]) as runner:
        runner.submit(wait)
        await runner.join(10)
    assert len(begun) == 2
    assert not [record for record in caplog.records if record.name == "app.tasks"]


async def test_a_task_that_snoozes_for_over_thirty_days_fails(
    engine: TaskRunner, recorder: Recorder
) -> None:
    weeks: list[float] = []

    async def wait_for_ever() -> None:
        weeks.append(7)
        recorder.infos[0].created_at -= 7 * 86400
        raise Snooze(60)

    engine.submit(wait_for_ever)
    await engine.join(1000)
    assert len(weeks) == 5
    assert recorder.hooks[-1] == "failed"
    assert "snoozed for more than 30 days" in str(recorder.errors[0])


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_a_snooze_refuses_invalid_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Snooze(seconds)
