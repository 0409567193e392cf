"""Group commit: what arrives during a write is written together by the next."""

import asyncio

import pytest

from app.tasks.durable.batcher import Batcher
from tests.tasks.gate import Gate


class Writer:
    """Takes numbers, and refuses batches with a 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = Gate()

    async def write(self, batch: list[int]) -> None:
        self.batches.append(batch)
        await self.gate.hold()
        if 13 in batch:
            raise ValueError(batch)


@pytest.fixture
async def writer() -> Writer:
    return Writer()


async def start(batcher: Batcher[int], writer: Writer, *numbers: int) -> list[asyncio.Task[None]]:
    """Add numbers while the first of them is being written."""
    tasks = [asyncio.create_task(batcher.add(n)) for n in numbers]
    await writer.gate.holds(1)
    return tasks


async def test_what_arrives_meanwhile_is_one_batch(writer: Writer) -> None:
    batcher = Batcher(writer.write)
    first = await start(batcher, writer, 1)
    others = [asyncio.create_task(batcher.add(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0)  # the turn of the loop in which all of them arrive
    writer.gate.open()

    await asyncio.gather(*first, *others)
    await batcher.add(5)
    assert writer.batches == [[1], [2, 3, 4], [5]]


async def test_a_failure_is_everybodys_of_its_batch(writer: Writer) -> None:
    batcher = Batcher(writer.write)
    tasks = await start(batcher, writer, 12, 13, 14)
    writer.gate.open()

    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 3
    await batcher.add(2)
    assert writer.batches[-1] == [2]


@pytest.mark.parametrize("last", [3, 13])
async def test_one_that_is_cancelled_does_not_disturb_the_others(writer: Writer, last: int) -> None:
    batcher = Batcher(writer.write)
    tasks = await start(batcher, writer, 1, 2, last)
    tasks[0].cancel()
    await asyncio.sleep(0)  # the turn of the loop in which it is cancelled
    writer.gate.open()

    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    if last == 3:
        assert results[1:] == [None, None]
    else:
        assert [type(result) for result in results[1:]] == [ValueError] * 2
    assert writer.batches == [[1, 2, last]]
