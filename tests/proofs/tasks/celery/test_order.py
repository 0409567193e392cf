"""The order in which a busy worker runs the waiting tasks, on every broker."""

from pathlib import Path

from app.tasks import Priority

from .application import flaky, hold, note, publishing, urgent
from .journal import Journal
from .workers import WorkerProcess


async def test_a_busy_worker_runs_the_most_urgent_task_first(
    broker: str, tmp_path: Path, journal: Journal, shipping: str
) -> None:
    with WorkerProcess(
        tmp_path, journal, concurrency=1, CELERY_BROKER_URL=broker, DATABASE_URL=shipping
    ) as worker:
        worker.wait_until_ready()
        async with publishing(broker, shipping) as runner:
            runner.submit(hold)
            await journal.until("ran", name="hold")
            for priority in (Priority.LOW, Priority.IDLE, Priority.HIGH, None, Priority.URGENT):
                name = "none" if priority is None else priority.name
                runner.submit(note, f"{name} 1", priority=priority)
                runner.submit(note, f"{name} 2", priority=priority)
            runner.submit(note, "NORMAL", priority=Priority.NORMAL)
            runner.submit(urgent)
            await runner.join()
            journal.open_gate()
            await journal.until("succeeded", 13)
            order = [entry.get("label", "urgent task") for entry in journal.entries("ran")][1:]
            task_id = runner.submit(flaky, 1)
            await journal.until("succeeded", id=task_id)
    assert order == [
        "URGENT 1", "URGENT 2", "urgent task", "HIGH 1", "HIGH 2", "none 1", "none 2", "NORMAL",
        "LOW 1", "LOW 2", "IDLE 1", "IDLE 2",
    ]  # fmt: skip
