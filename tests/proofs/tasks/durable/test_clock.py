"""The clock: a database server's is everybody's."""

import logging
import time

import pytest

from app.tasks import task

from .world import World, leave_effect


@task(durable=True)
async def work(n: int) -> None:
    await leave_effect(n)


async def test_the_clock_of_this_machine_does_not_matter_beside_a_server(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not world.url.startswith("postgresql"):
        pytest.skip("there is no server")
    caplog.set_level(logging.WARNING)
    async with world.process(work) as process:
        monkeypatch.setattr(time, "time", lambda: 1000.0)
        task_id = await process.submit(work, 1)
        await process.watcher.until("succeeded")
        monkeypatch.undo()
        record = await process.record(task_id)
    assert abs(record.created_at - time.time()) < 60
    assert record.finished_at is not None
    assert abs(record.finished_at - time.time()) < 60
