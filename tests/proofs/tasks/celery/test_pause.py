"""Pauses and changed limits reach workers."""

from pathlib import Path
from typing import Any

from app.tasks.celery import CeleryRunner
from app.tasks.celery.message import Message

from .application import hold, note, note_sync, publishing, ship_durable
from .brokers import Valkey
from .journal import Journal
from .test_announcements import announcements, column, submit, until
from .workers import WorkerProcess


def worker_on(folder: Path, journal: Journal, valkey: Valkey, database: str) -> WorkerProcess:
    return WorkerProcess(folder, journal, CELERY_BROKER_URL=valkey.url, DATABASE_URL=database)


async def readings(runner: CeleryRunner, count: int) -> None:
    """Wait until the process has read pauses and limits from the table `count` times."""
    types: Any = runner._types
    for _ in range(count):
        await types.loop.stepped.wait()


async def test_a_paused_task_runs_on_no_worker_until_it_is_resumed(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    async with publishing(valkey.url, shipping) as runner:
        await submit(runner, ship_durable, 1)
        runner.submit(note)
        await until(lambda: announcements(valkey) == 1)
        await runner.pause("ship_durable")
        await runner.pause("note")
        await submit(runner, ship_durable, 2)
        with worker_on(tmp_path, journal, valkey, shipping) as worker:
            worker.wait_until_ready()
            runner.submit(note_sync, "other")
            await journal.until("ran", name="note_sync")
            await until(lambda: column(shipping, "owner") == [None, None])
            await readings(runner, 2)
            assert announcements(valkey) == 0
            assert column(shipping, "attempts") == [0, 0]
            assert journal.entries("began") == journal.entries("ran", name="note") == []
            await runner.resume("ship_durable")
            await runner.resume("note")
            await journal.until("shipped", 2)
            await journal.until("ran", name="note")


async def test_messages_of_a_paused_task_come_again_one_after_the_other(
    valkey: Valkey, shipping: str
) -> None:
    count = 500
    message = Message(id="1", name="note", priority=5)
    async with publishing(valkey.url, shipping) as runner:
        await runner.pause("note")
        postponed = [await runner.execute(message) for _ in range(count)]
    times = [again.not_before for again in postponed if again is not None]
    assert len(times) == count
    assert times[-1] - times[0] > 0.019 * count


async def test_a_changed_limit_reaches_a_worker(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    with worker_on(tmp_path, journal, valkey, shipping) as worker:
        worker.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            await runner.limit("hold", max_concurrency=1)
            await readings(runner, 3)
            for _ in range(3):
                runner.submit(hold)
            await journal.until("ran", name="hold")
            for n in range(3):
                runner.submit(note_sync, str(n))
                await journal.until("ran", n + 1, name="note_sync")
            assert len(journal.entries("ran", name="hold")) == 1
            await runner.limit("hold")
            await journal.until("ran", 3, name="hold")
            journal.open_gate()
