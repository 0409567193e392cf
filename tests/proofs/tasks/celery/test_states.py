"""What Redis keeps of tasks: for long enough, and to be read by every release."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Collection
from unittest.mock import Mock

import pytest
from redis.exceptions import RedisError

from app.tasks import TaskRecord, TaskState
from app.tasks.celery.message import Message
from app.tasks.celery.states import TaskStates, record_of

from .brokers import Valkey

HOUR = 3600


@pytest.fixture
async def states(valkey: Valkey) -> AsyncIterator[TaskStates]:
    states = TaskStates(valkey.url, expires=60, timeout=5)
    states.start()
    yield states
    await states.close()


async def test_what_is_known_of_a_task_is_kept_until_it_was_due(
    states: TaskStates, valkey: Valkey
) -> None:
    later = Message(id="later", name="x", priority=5, due_at=time.time() + HOUR)
    now = Message(id="now", name="x", priority=5)
    begin = time.time()
    for message in (later, now):
        assert states.cancel(message.id, record_of(message, TaskState.QUEUED))
    assert await states.is_cancelled("later")
    assert not await states.is_cancelled("another")
    with valkey.client() as client:
        kept = {key: client.ttl(key) for key in ("task:later", "task:now")}
        marks = {key: until - begin for key, until in client.zscan_iter("tasks-cancelled")}
    for seconds in ([*kept.values()], [marks["later"], marks["now"]]):
        assert seconds == [pytest.approx(HOUR + 60, abs=5), pytest.approx(60, abs=5)]


async def test_a_task_that_ends_while_it_is_cancelled_has_not_been(
    states: TaskStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = Message(id="1", name="x", priority=5)
    states.save([record_of(message, TaskState.QUEUED)])
    seconds_kept = states._seconds_kept

    def end_meanwhile(record: TaskRecord) -> int:
        monkeypatch.undo()
        states.save([record_of(message, TaskState.SUCCEEDED)])
        return seconds_kept(record)

    monkeypatch.setattr(states, "_seconds_kept", end_meanwhile)
    assert not states.cancel("1", None)
    assert not await states.is_cancelled("1")
    record = states.get("1")
    assert record is not None
    assert record.state == TaskState.SUCCEEDED


async def test_what_was_cancelled_long_ago_costs_workers_nothing(
    states: TaskStates, valkey: Valkey
) -> None:
    with valkey.client() as client:
        client.zadd("tasks-cancelled", {"old": time.time() - 1})
    assert not await states.is_cancelled("old")
    assert states._none_until > time.monotonic()


async def test_the_record_of_a_newer_release_is_read(states: TaskStates, valkey: Valkey) -> None:
    known = {"id": "1", "name": "x", "priority": 5, "attempts": 1, "created_at": 1, "due_at": 1}
    with valkey.client() as client:
        client.set("task:1", json.dumps({**known, "state": "asleep", "added": 1}))
    record = states.get("1")
    assert record is not None
    assert record.state == "asleep"


async def test_a_redis_that_is_away_is_not_asked_for_each_task(
    states: TaskStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Mock(side_effect=RedisError)
    monkeypatch.setattr(states._redis, "pipeline", asked)
    assert not any(await asyncio.gather(*(states.is_cancelled(str(n)) for n in range(10))))
    assert asked.call_count == 1


async def test_the_latest_state_is_written_last(
    states: TaskStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, begun, slow = states.save, threading.Event(), threading.Event()

    def save_slowly(records: Collection[TaskRecord]) -> None:
        if any(record.state == TaskState.RUNNING for record in records):
            begun.set()
            slow.wait(20)
        save(records)

    monkeypatch.setattr(states, "save", save_slowly)
    message = Message(id="1", name="x", priority=5)
    states.note(message, TaskState.RUNNING)
    await asyncio.to_thread(begun.wait, 20)
    states.note(message, TaskState.QUEUED)
    later = asyncio.create_task(states.flush())
    await asyncio.wait((later,), timeout=0.2)  # without an order it is written now
    slow.set()
    await later
    await states.close()
    record = states.get("1")
    assert record is not None
    assert record.state == TaskState.QUEUED
