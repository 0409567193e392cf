"""Group commit: successes that arrive during a write are written together by the next write."""

import asyncio
from typing import Any

import pytest

from app.tasks.durable.recorder import DurableRecorder
from app.tasks.durable.store import Run
from tests.tasks.gate import Gate


class Store:
    """A store that refuses every batch with the run 13."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = Gate()

    async def succeed(self, runs: list[Run]) -> None:
        self.batches.append([task_id for task_id, _ in runs])
        await self.gate.hold()
        if ("13", 0.0) in runs:
            raise ValueError(runs)


class Recorder(DurableRecorder):
    """A recorder that writes into this store."""

    def __init__(self) -> None:
        self.store = Store()
        store: Any = self.store
        super().__init__(store, {}, 10.0, lambda _: None)
        self._arrived: asyncio.Queue[Run] = asyncio.Queue()

    async def arrive(self, number: int) -> None:
        """Wait until `number` more successes have arrived."""
        async with asyncio.timeout(5):
            for _ in range(number):
                await self._arrived.get()

    async def _succeed(self, run: Run) -> None:
        self._arrived.put_nowait(run)
        await super()._succeed(run)

    def add(self, *numbers: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._succeed((str(n), 0.0))) for n in numbers]


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


async def test_successes_that_arrive_during_a_write_are_one_batch(recorder: Recorder) -> None:
    first = recorder.add(1)
    await recorder.store.gate.holds(1)
    others = recorder.add(2, 3, 4)
    await recorder.arrive(4)
    recorder.store.gate.open()

    await asyncio.gather(*first, *others)
    await asyncio.gather(*recorder.add(5))
    assert recorder.store.batches == [["1"], ["2", "3", "4"], ["5"]]


async def test_a_failed_write_fails_every_success_of_its_batch(recorder: Recorder) -> None:
    tasks = recorder.add(12, 13, 14)
    await recorder.store.gate.holds(1)
    recorder.store.gate.open()

    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 3
    await asyncio.gather(*recorder.add(2))
    assert recorder.store.batches[-1] == ["2"]


@pytest.mark.parametrize("last", [3, 13])
async def test_a_cancelled_success_does_not_affect_the_rest_of_its_batch(
    recorder: Recorder, last: int
) -> None:
    tasks = recorder.add(1, 2, last)
    await recorder.store.gate.holds(1)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1], timeout=5)
    assert tasks[0].cancelled()
    recorder.store.gate.open()

    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    if last == 3:
        assert results[1:] == [None, None]
    else:
        assert [type(result) for result in results[1:]] == [ValueError] * 2
    assert recorder.store.batches == [["1", "2", str(last)]]
