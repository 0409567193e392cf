"""The worker's side, one message at a time."""

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from app.tasks import TaskSettings
from app.tasks.celery import CelerySettings, Worker, make_celery

from .application import TASKS, note, open_runner
from .journal import Journal

SETTINGS = TaskSettings(drain_timeout=1)


def make_worker(database: str, problem: Exception | None = None) -> tuple[Any, Worker]:
    celery_settings = CelerySettings.model_validate(
        {"broker_url": "memory://", "queue": "one-message"}
    )
    celery = make_celery(celery_settings, SETTINGS, TASKS)

    @asynccontextmanager
    async def open_this() -> Any:
        if problem is not None:
            raise problem
        async with open_runner(SETTINGS, celery_settings, url=database) as runner:
            yield runner

    return celery, Worker(celery, TASKS, open_this, SETTINGS.drain_timeout)


def waiting(celery: Any) -> list[dict[str, Any]]:
    """Take what waits in the queue."""
    found = []
    with celery.connection_for_read() as connection:
        queue = connection.SimpleQueue("one-message")
        while queue.qsize():
            message = queue.get(timeout=5)
            found.append(message.payload[0][0])
            message.ack()
        queue.close()
    return found


def receive(worker: Worker, **delivery_info: Any) -> None:
    request = SimpleNamespace(request=SimpleNamespace(delivery_info=delivery_info))
    payload = {"id": "1", "name": note.name, "priority": 5, "a newer field": True}
    worker._receive(request, payload)  # type: ignore[arg-type]


def test_a_worker_that_cannot_open_its_resources_exits(database_url: str) -> None:
    _, worker = make_worker(database_url, OSError("no database"))
    with pytest.raises(SystemExit):
        worker._on_worker_init(SimpleNamespace(pool_cls="threads"))


def test_a_message_whose_worker_was_lost_is_sent_again(database_url: str, journal: Journal) -> None:
    celery, worker = make_worker(database_url)
    receive(worker, redelivered=True)
    (sent,) = waiting(celery)
    assert (sent["id"], sent["attempts"], sent["lost"]) == ("1", 1, 1)
    assert journal.entries("ran") == []


def test_a_message_that_comes_after_the_end_goes_back(database_url: str, journal: Journal) -> None:
    celery, worker = make_worker(database_url)
    worker._on_worker_init(SimpleNamespace(pool_cls="threads"))
    receive(worker)
    assert len(journal.wait_for("ran")) == 1
    worker._on_end()
    receive(worker)
    (sent,) = waiting(celery)
    assert (sent["id"], "attempts" in sent, "lost" in sent) == ("1", False, False)
    assert len(journal.entries("ran")) == 1
