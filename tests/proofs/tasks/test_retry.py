"""Retries: after which errors, how often, after which wait, and what a waiting retry holds."""

import asyncio
import random

import pytest

from app.tasks import Retry, TaskRunner, TaskSettings, task
from tests.tasks.gate import Gate

from .recorder import Recorder
from .virtual_time import ON_VIRTUAL_TIME, advance, settle

pytestmark = ON_VIRTUAL_TIME


class Flaky:
    """Fails a number of times before it succeeds."""

    def __init__(self, failures: int, error: BaseException | None = None) -> None:
        self.failures = failures
        self.error = error or ValueError("not yet")
        self.runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.runs <= self.failures:
            raise self.error


async def test_a_task_is_retried_until_it_succeeds(engine: TaskRunner, recorder: Recorder) -> None:
    flaky = Flaky(2)
    engine.options(retry=Retry(attempts=3)).submit(flaky.run)
    await engine.join(60)
    runs = ["started", "retried"] * 2 + ["started"]
    assert recorder.hooks == ["queued", *runs, "succeeded"]
    assert (recorder.waiting, recorder.running) == (0, 0)
    snapshot = engine.snapshot()
    assert (snapshot.succeeded, snapshot.retried, snapshot.failed) == (1, 2, 0)
    assert recorder.infos[0].attempt == 3
    assert recorder.infos[0].error is None


async def test_a_task_fails_for_good_after_its_last_attempt(
    engine: TaskRunner, recorder: Recorder
) -> None:
    flaky = Flaky(9)
    engine.options(retry=Retry(attempts=3)).submit(flaky.run)
    await engine.join(60)
    assert flaky.runs == 3
    assert recorder.hooks[-1] == "failed"
    assert recorder.errors == [flaky.error]


@pytest.mark.parametrize(
    ("error", "runs"),
    [
        (ValueError(), 3),
        (UnicodeError(), 3),  # a subclass
        (KeyError(), 1),
        (SystemExit(1), 1),
    ],
)
async def test_only_the_given_exception_types_are_retried(
    engine: TaskRunner, error: BaseException, runs: int
) -> None:
    flaky = Flaky(9, error)
    engine.options(retry=Retry(on=(ValueError,))).submit(flaky.run)
    await engine.join(60)
    assert flaky.runs == runs


async def test_a_system_exit_is_not_retried_by_default(engine: TaskRunner) -> None:
    flaky = Flaky(9, SystemExit())
    engine.options(retry=Retry()).submit(flaky.run)
    await engine.join(60)
    assert flaky.runs == 1


async def test_the_retry_of_the_call_overrides_that_of_the_task(engine: TaskRunner) -> None:
    runs: list[int] = []

    @task(retry=Retry(attempts=4))
    async def fails() -> None:
        runs.append(1)
        raise ValueError

    engine.submit(fails)
    await engine.join(60)
    assert len(runs) == 4
    engine.options(retry=Retry(attempts=1)).submit(fails)
    await engine.join(60)
    assert len(runs) == 5


def test_the_wait_is_random_below_an_exponential_bound() -> None:
    retry = Retry(delay=1, max_delay=10)
    for attempt, bound in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (50, 10), (5000, 10)):
        waits = [retry.wait(attempt) for _ in range(500)]
        assert 0 <= min(waits) < bound * 0.1  # full jitter: from zero to the bound
        assert bound * 0.9 < max(waits) <= bound


def test_the_wait_can_be_zero() -> None:
    assert Retry(delay=0).wait(3) == Retry(max_delay=0).wait(3) == 0


async def test_a_retry_waits_for_its_delay(
    engine: TaskRunner, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    flaky = Flaky(2)
    began = asyncio.get_running_loop().time()
    engine.options(retry=Retry(delay=30)).submit(flaky.run)
    await advance(29)
    assert flaky.runs == 1
    assert recorder.infos[0].retry_in == 30
    await engine.join(100)
    assert asyncio.get_running_loop().time() - began == pytest.approx(90)


async def test_a_waiting_retry_holds_no_slot(gate: Gate, recorder: Recorder) -> None:
    gate.open()

    @task(max_concurrency=1, retry=Retry(delay=30))
    async def fails(label: str) -> None:
        await gate.hold(label)
        if label == "fails":
            raise ValueError

    settings = TaskSettings(max_concurrency=1, drain_timeout=0)
    async with TaskRunner(settings, [recorder]) as runner:
        runner.submit(fails, "fails")
        runner.submit(fails, "succeeds")
        runner.submit(gate.hold, "other")
        await settle()
        assert gate.left == ["fails", "succeeds", "other"]
        assert recorder.waiting == runner.snapshot().queued == 1


async def test_waiting_retries_do_not_fill_the_queue() -> None:
    flaky = [Flaky(1) for _ in range(10)]
    async with TaskRunner(TaskSettings(queue_size=10)) as runner:
        for task_body in flaky:
            runner.options(retry=Retry(delay=1)).submit(task_body.run)
        await settle()
        assert runner.snapshot().queued == 10
        assert runner._capacity.reserved == 0
        runner.submit(settle)
        await runner.join(5)
        assert [task_body.runs for task_body in flaky] == [2] * 10
        assert runner._capacity.reserved == 0


async def test_a_timeout_is_retried_as_a_timeout_error(
    engine: TaskRunner, recorder: Recorder
) -> None:
    runs: list[int] = []

    @task(timeout=5, retry=Retry(attempts=2, on=(TimeoutError,), delay=0))
    async def hangs() -> None:
        runs.append(1)
        await advance(3600)

    engine.submit(hangs)
    await engine.join(60)
    assert len(runs) == 2
    assert recorder.hooks[-2:] == ["started", "timed_out"]
    assert recorder.names("retried") == [hangs.name]


async def test_a_retry_queues_behind_others_of_its_priority(gate: Gate) -> None:
    gate.open()
    flaky = Flaky(1)

    async def fails() -> None:
        await gate.hold("flaky")
        await flaky.run()

    async with TaskRunner(TaskSettings(max_concurrency=1)) as runner:
        runner.options(retry=Retry(delay=0)).submit(fails)
        runner.submit(gate.hold, "other")
    assert gate.left == ["flaky", "other", "flaky"]
