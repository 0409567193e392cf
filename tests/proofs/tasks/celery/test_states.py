"""The records of tasks in Redis: kept long enough, written in order, readable by every release."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from unittest.mock import AsyncMock

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.tasks import TaskRecord, TaskState
from app.tasks.celery import states as states_module
from app.tasks.celery.message import Message
from app.tasks.celery.states import TaskStates

from .brokers import Valkey

HOUR = 3600


@pytest.fixture
async def states(valkey: Valkey) -> AsyncIterator[TaskStates]:
    async with Redis.from_url(valkey.url, decode_responses=True) as client:
        yield TaskStates(client, expires=60)


async def test_the_record_of_a_task_is_kept_until_after_it_is_due(
    states: TaskStates, valkey: Valkey
) -> None:
    later = Message(id="later", name="x", priority=5, due_at=time.time() + HOUR)
    now = Message(id="now", name="x", priority=5)
    begin = time.time()
    for message in (later, now):
        assert await states.cancel(message.id, message)
    assert await states.is_cancelled("later")
    assert not await states.is_cancelled("another")
    with valkey.client() as client:
        kept = {key: client.ttl(key) for key in ("task:later", "task:now")}
        marks = {key: until - begin for key, until in client.zscan_iter("tasks-cancelled")}
    for seconds in ([*kept.values()], [marks["later"], marks["now"]]):
        assert seconds == [pytest.approx(HOUR + 60, abs=5), pytest.approx(60, abs=5)]


async def test_a_task_that_ends_during_its_cancellation_is_not_cancelled(
    states: TaskStates, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued = Message(id="1", name="x", priority=5)
    await states.save([queued])
    seconds_kept, ended = states._seconds_kept, replace(queued, state=TaskState.SUCCEEDED)

    def end_meanwhile(record: TaskRecord) -> int:
        monkeypatch.undo()
        with valkey.client() as client:
            client.set("task:1", states_module._AS_JSON.dump_json(ended))
        return seconds_kept(record)

    monkeypatch.setattr(states, "_seconds_kept", end_meanwhile)
    assert not await states.cancel("1", None)
    assert not await states.is_cancelled("1")
    record = await states.get("1")
    assert record is not None
    assert record.state == TaskState.SUCCEEDED


async def test_expired_cancellations_are_forgotten(states: TaskStates, valkey: Valkey) -> None:
    with valkey.client() as client:
        client.zadd("tasks-cancelled", {"old": time.time() - 1})
        assert not await states.is_cancelled("old")
        assert states._cancelled == set()
        message = Message(id="new", name="x", priority=5)
        assert await states.cancel("new", message)
        assert client.zrange("tasks-cancelled", 0, -1) == ["new"]


async def test_cancellation_checks_share_few_requests(states: TaskStates, valkey: Valkey) -> None:
    assert await states.cancel("0", Message(id="0", name="x", priority=5))
    with valkey.client() as client:
        before = client.info("stats")["total_commands_processed"]
        cancelled = await asyncio.gather(*(states.is_cancelled(str(n)) for n in range(100)))
        assert client.info("stats")["total_commands_processed"] - before < 50
    assert cancelled == [True] + [False] * 99


async def test_only_a_bounded_number_of_cancelled_ids_is_cached(
    states: TaskStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states_module, "_MANY", 2)
    ids = [str(n) for n in range(5)]
    for task_id in ids:
        assert await states.cancel(task_id, Message(id=task_id, name="x", priority=5))
    assert [await states.is_cancelled(task_id) for task_id in [*ids, "other"]] == [True] * 5 + [
        False
    ]
    assert len(states._cancelled) == 2


async def test_a_record_of_a_newer_release_can_be_read(states: TaskStates, valkey: Valkey) -> None:
    known = {"id": "1", "name": "x", "priority": 5, "attempts": 1, "created_at": 1, "due_at": 1}
    with valkey.client() as client:
        client.set("task:1", json.dumps({**known, "state": "asleep", "added": 1}))
    record = await states.get("1")
    assert record is not None
    assert record.state == "asleep"


async def test_a_redis_that_is_away_is_not_asked_for_every_task(
    states: TaskStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = AsyncMock(side_effect=RedisError)
    monkeypatch.setattr(states._redis, "zrangebyscore", query)
    assert not any(await asyncio.gather(*(states.is_cancelled(str(n)) for n in range(10))))
    assert query.call_count == 1


async def test_the_latest_state_is_written_last(
    states: TaskStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, begun, slow = states.save, asyncio.Event(), asyncio.Event()

    async def save_slowly(records: Collection[TaskRecord]) -> None:
        if any(record.state == TaskState.RUNNING for record in records):
            begun.set()
            await slow.wait()
        await save(records)

    monkeypatch.setattr(states, "save", save_slowly)
    queued = Message(id="1", name="x", priority=5)
    states.note(replace(queued, state=TaskState.RUNNING))
    await asyncio.wait_for(begun.wait(), 20)
    states.note(queued)
    later = asyncio.create_task(states.flush())
    await asyncio.wait((later,), timeout=0.2)  # it would be written now if the order did not count
    slow.set()
    await later
    record = await states.get("1")
    assert record is not None
    assert record.state == TaskState.QUEUED
