"""Unreadable, redelivered and dropped messages, and tasks as `celery inspect` shows them."""

import asyncio
import base64
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from app.tasks import TaskSettings
from app.tasks.celery import CelerySettings, make_celery
from app.tasks.celery.execution import TaskFailed
from app.tasks.celery.message import Message
from waiting import wait_until

from .application import hold, note, publishing
from .brokers import Valkey
from .journal import Journal
from .workers import WorkerProcess

QUEUE = "tasks\x06\x165"


def celery_on(valkey: Valkey) -> Celery:
    settings = CelerySettings.model_validate({"broker_url": valkey.url})
    return make_celery(settings, TaskSettings())


async def test_a_worker_goes_on_after_unreadable_messages(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    unreadable: list[list[Any]] = [
        [],
        ["password=hidden"],
        [{"id": "1", "name": "note", "priority": "urgent"}],
        [{"id": "1", "name": "hold", "priority": 5}],
    ]
    with WorkerProcess(
        tmp_path, journal, CELERY_BROKER_URL=valkey.url, DATABASE_URL=shipping
    ) as worker:
        worker.wait_until_ready()
        for args in unreadable:
            celery_on(valkey).send_task("note", args=args, queue="tasks", priority=5)
        # A task of a later release is dropped, too.
        celery_on(valkey).send_task("newer", ["password=hidden"], queue="tasks", priority=5)
        # They have to be dropped before the garbage breaks the connection, or they come again.
        dropped = "cannot be read and is dropped"
        await asyncio.to_thread(wait_until, lambda: worker.output.count(dropped) == len(unreadable))
        await asyncio.to_thread(worker.wait_for_output, "'newer'")
        await asyncio.to_thread(wait_until, lambda: not valkey.unacknowledged)
        with valkey.client() as client:
            for garbage in ("no JSON", "[1]", json.dumps({"body": "x"})):
                client.lpush(QUEUE, garbage)
        async with publishing(valkey.url, shipping) as runner:
            await journal.until("succeeded", id=runner.submit(note, "after"))
        await asyncio.to_thread(wait_until, lambda: not valkey.unacknowledged)
        output = worker.output
    assert journal.all_of("ran", "label") == ["after"]
    assert output.count(dropped) == len(unreadable)
    assert "hidden" not in output


@pytest.mark.parametrize("signal", ["terminate", "kill"])
async def test_losing_workers_that_hold_a_delayed_message_makes_no_task_dead(
    signal: str, tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    def worker() -> WorkerProcess:
        return WorkerProcess(
            tmp_path, journal, CELERY_BROKER_URL=valkey.url, DATABASE_URL=shipping,
            TASKS_CRASH_ATTEMPTS="1", CELERY_VISIBILITY_TIMEOUT="4", TASKS_DEFAULT_TIMEOUT="2",
            TASKS_DRAIN_TIMEOUT="1",
        )  # fmt: skip

    async with publishing(valkey.url, shipping) as runner:
        with worker() as first:
            first.wait_until_ready()
            task_id = runner.options(delay=5).submit(note, "late")
            await asyncio.to_thread(wait_until, lambda: valkey.unacknowledged == 1)
            getattr(first, signal)()
            await asyncio.to_thread(first.wait_for_exit)
        with worker():
            await journal.until("succeeded", id=task_id)
    assert journal.all_of("ran", "attempt") == [1]
    assert journal.entries("failed") == []


def reported_failures(valkey: Valkey) -> list[dict[str, Any]]:
    """Return the failed tasks in the messages of the `on_failure` task at the broker."""
    with valkey.client() as client:
        messages = [json.loads(message) for message in client.lrange(QUEUE, 0, -1)]
    payloads = [json.loads(base64.b64decode(message["body"]))[0][0] for message in messages]
    reports = [payload for payload in payloads if payload["name"] == "report_failure"]
    return [json.loads(report["arguments"])["failed"] for report in reports]


def stored_state(valkey: Valkey, task_id: str) -> Any:
    with valkey.client() as client:
        return json.loads(client.get(f"task:{task_id}") or "{}").get("state")


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"arguments": '{"n": 7}', "attempts": 100}, "dead"),
        ({"arguments": '{"of an older release": 7}'}, "failed"),
        ({"arguments": '{"n": 7}'}, "cancelled"),
    ],
)
async def test_on_failure_runs_for_messages_that_did_not_run(
    values: dict[str, Any], state: str, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    message = Message(id="1", name="hopeless", priority=5, **values)
    async with publishing(valkey.url, shipping) as runner:
        if state == "cancelled":
            runner._publisher.put(message)
            await runner.join(20)
            assert await runner.cancel_anywhere("1")
            runner._publisher.put(message)  # sent again, as after an error of the broker
            await runner.join(20)
        with nullcontext() if state == "cancelled" else pytest.raises(TaskFailed):
            assert await runner.execute(message) is None
        await asyncio.to_thread(wait_until, lambda: stored_state(valkey, "1") == state)
        await runner.join(20)
        (failed,) = reported_failures(valkey)
        event = "cancelled" if state == "cancelled" else "failed"
        await journal.until(event, id="1")
    assert (failed["state"], failed["arguments"]) == (state, json.loads(values["arguments"]))
    assert len(journal.entries(event)) == 1


async def test_celery_inspect_shows_tasks_by_name(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    with WorkerProcess(
        tmp_path, journal, CELERY_BROKER_URL=valkey.url, DATABASE_URL=shipping
    ) as worker:
        worker.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            task_id = runner.submit(hold, "shown")
            await journal.until("ran", id=task_id)
            inspect = celery_on(valkey).control.inspect(timeout=20, limit=1)
            registered = await asyncio.to_thread(inspect.registered)
            active = await asyncio.to_thread(inspect.active)
            journal.open_gate()
            await journal.until("succeeded", id=task_id)
    assert registered is not None
    assert {"note", "hold", "ship_durable"} <= {
        name for names in registered.values() for name in names
    }
    assert active is not None
    (request,) = [request for requests in active.values() for request in requests]
    assert (request["name"], request["id"]) == ("hold", task_id)
