"""A web process whose broker is away serves everything else, and no request waits for it."""

import asyncio
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import httpx2
import pytest
from fastapi import APIRouter
from pydantic import SecretStr

from app.db import task_session
from app.db.database import SessionDep
from app.feature import Feature, load_features
from app.mail import AlertSettings, FailureAlerts, MemorySender, current_sender, send_alert
from app.service import create_app
from app.settings import Settings, read
from app.tasks import Tasks, TaskSettings, task
from app.tasks.celery import BrokerUnavailable, CeleryRunner, CelerySettings, make_celery
from app.tasks.celery.execution import TaskFailed
from app.tasks.celery.message import Message
from app.tasks.celery.publisher import Publisher
from app.tasks.celery.states import StatesUnavailable, TaskStates
from app.tasks.options import NO_OPTIONS
from waiting import wait_until

from .application import hold_durable, hopeless, note, open_runner, publishing, report_failure
from .brokers import Valkey, free_port, rabbitmq
from .conftest import settings_of
from .journal import Journal
from .test_behaviour import state_of

KEY = "key-of-the-operators"
PUBLISH_TIMEOUT = 1.5
BLOCKED = PUBLISH_TIMEOUT / 2
"""Seconds. A request that waits for the broker takes longer; a busy machine alone does not."""

router = APIRouter()


@task(name="order")
async def order(n: int) -> None:
    raise AssertionError(n)


@task(name="order_durable", durable=True)
async def order_durable(n: int) -> None:
    raise AssertionError(n)


@router.post("/orders/{n}", status_code=202)
async def add(n: int, tasks: Tasks) -> str:
    return tasks.add_task(order, n)


@router.post("/durable/{n}", status_code=202)
async def add_durable(n: int, _: SessionDep, tasks: Tasks) -> str:
    return tasks.add_task(order_durable, n)


@router.get("/else")
async def something_else() -> str:
    return "served"


@asynccontextmanager
async def service(env: pytest.MonkeyPatch, broker: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Run the web service in this process."""
    env.setenv("API_KEYS", KEY)
    env.setenv("CELERY_BROKER_URL", broker)
    env.setenv("CELERY_PUBLISH_TIMEOUT", str(PUBLISH_TIMEOUT))
    env.setenv("TASKS_SWEEP_INTERVAL", "0.1")
    env.setenv("TASKS_DRAIN_TIMEOUT", "0.5")
    env.setenv("TASKS_QUEUE_SIZE", "100000")
    settings = read(Settings)
    feature = Feature(name="shop", router=router, tasks=[order, order_durable], public=True)
    app = create_app(settings, [*load_features(settings), feature])
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://test", headers={"X-API-Key": KEY}
        ) as client:
            yield client


class Lag:
    """Measures by how many seconds the event loop called a timer too late, at most."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._loop = asyncio.get_running_loop()
        self._tick(self._loop.time())

    def _tick(self, due: float) -> None:
        now = self._loop.time()
        self.longest = max(self.longest, now - due)
        self._timer = self._loop.call_later(0.01, self._tick, now + 0.01)

    def stop(self) -> float:
        self._timer.cancel()
        return self.longest


@contextmanager
def refusing() -> Iterator[str]:
    """Give the URL of a broker at which nothing listens."""
    yield f"redis://127.0.0.1:{free_port()}/0"


@contextmanager
def black_hole() -> Iterator[str]:
    """Give the URL of a broker that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@pytest.mark.parametrize("away", [refusing, black_hole])
async def test_a_service_starts_and_serves_without_its_broker(
    settings_env: pytest.MonkeyPatch, away: Callable[[], AbstractContextManager[str]]
) -> None:
    with away() as broker:
        async with service(settings_env, broker) as client:
            lag = Lag()
            begin = time.monotonic()
            refused = await client.post("/orders/1")
            assert time.monotonic() - begin < BLOCKED
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.headers["Content-Type"] == "application/problem+json"
            assert (await client.get("/else")).text == '"served"'
            assert (await client.get("/health/ready")).status_code == 200
            assert (await client.post("/durable/1")).status_code == 202
            await asyncio.to_thread(
                wait_until, lambda: time.monotonic() - begin > 1.5 * PUBLISH_TIMEOUT
            )
            assert (await client.post("/orders/2")).status_code == 503
            assert lag.stop() < BLOCKED


@pytest.mark.parametrize("away", [refusing, black_hole])
async def test_requests_about_tasks_get_a_503_without_the_broker(
    settings_env: pytest.MonkeyPatch, away: Callable[[], AbstractContextManager[str]]
) -> None:
    with away() as broker:
        async with service(settings_env, broker) as client:
            requests = (
                client.get("/tasks/1"),
                client.post("/tasks/1/cancel"),
                client.post("/tasks/1/retry"),
                client.get("/dashboard/tasks/1"),
            )
            for answer in await asyncio.gather(*requests):
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            durable = (await client.post("/durable/1")).json()
            assert (await client.get(f"/tasks/{durable}")).json()["state"] == "queued"
            assert (await client.post(f"/tasks/{durable}/cancel")).json()["state"] == "cancelled"
            assert (await client.post(f"/tasks/{durable}/retry")).json()["state"] == "queued"


async def test_a_frozen_broker_blocks_no_request_and_loses_no_task(
    settings_env: pytest.MonkeyPatch, valkey: Valkey
) -> None:
    async with service(settings_env, valkey.url) as client:
        assert (await client.post("/orders/0")).status_code == 202
        await asyncio.to_thread(wait_until, lambda: queued(valkey) == 1)
        valkey.freeze()
        try:
            lag = Lag()
            begin, accepted = time.monotonic(), 1
            while (answer := await client.post("/orders/1")).status_code == 202:
                accepted += 1
                assert time.monotonic() - begin < 3 * PUBLISH_TIMEOUT
                await asyncio.sleep(0)  # these requests never wait: let other tasks run
            assert answer.status_code == 503
            begin = time.monotonic()
            assert (await client.post("/orders/1")).status_code == 503
            assert (await client.get("/else")).status_code == 200
            assert (await client.post("/durable/1")).status_code == 202
            assert time.monotonic() - begin < BLOCKED
            assert lag.stop() < BLOCKED
        finally:
            valkey.thaw()
        # Tasks accepted before the freeze was noticed are sent, and so is the durable one.
        await asyncio.to_thread(wait_until, lambda: queued(valkey) == accepted + 1)
        assert (await client.post("/orders/2")).status_code == 202


async def test_a_frozen_rabbitmq_is_noticed_and_used_again(tmp_path: Path, shipping: str) -> None:
    with rabbitmq(tmp_path) as url:
        group = os.getpgid(int((tmp_path / "pid").read_text(encoding="utf-8")))
        async with publishing(url, shipping) as runner:
            runner.submit(note, "x")
            await runner.join(20)
            os.killpg(group, signal.SIGSTOP)
            try:
                await asyncio.to_thread(wait_until, lambda: not runner._publisher.available, 10)
                with pytest.raises(BrokerUnavailable):
                    runner.submit(note, "y")
            finally:
                os.killpg(group, signal.SIGCONT)
            await asyncio.to_thread(wait_until, lambda: runner._publisher.available)


async def test_a_full_redis_counts_as_away_until_it_accepts_messages(
    valkey: Valkey, shipping: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    # With a long lease no row is announced twice during the test.
    async with publishing(valkey.url, shipping, lease=120) as runner:
        with valkey.client() as client:
            client.config_set("maxmemory", 1)
            try:
                async with task_session():
                    for _ in range(3):
                        runner.submit(hold_durable)
                publisher = runner._publisher
                await asyncio.to_thread(wait_until, lambda: not publisher.available)
                for _ in range(3):  # a full Redis still answers the publisher's check
                    await asyncio.wait_for(publisher._loop.stepped.wait(), 20)
                    with pytest.raises(BrokerUnavailable):
                        runner.submit(note, "x")
                assert "the broker can be reached again" not in caplog.text
            finally:
                client.config_set("maxmemory", 0)
        await runner.join(20)
        assert queued(valkey) == 3


@pytest.mark.parametrize("fails", [True, False])
async def test_a_broker_that_answers_after_the_shutdown_is_sent_nothing_more(
    fails: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers, sent = threading.Event(), []

    def publish_slowly(_: object, message: Message, *__: object) -> None:
        answers.wait(20)
        sent.append(message.id)
        if fails:
            raise OSError("no answer")

    monkeypatch.setattr("app.tasks.celery.publisher.publish", publish_slowly)
    settings = CelerySettings.model_validate({"broker_url": "memory://"})
    publisher = Publisher(make_celery(settings, TaskSettings()), TaskStates(None, 1))
    await publisher.start()
    for task_id in ("1", "2"):
        publisher.put(Message(id=task_id, name="note", priority=5))
    await publisher.stop(0.1)
    assert "2 tasks never reached the broker: note (1), note (2)" in caplog.text
    answers.set()
    await asyncio.wait_for(publisher._publishing, 20)
    assert sent == ["1"]
    assert ("no answer" in caplog.text) is fails
    assert not [record for record in caplog.records if record.exc_info]


async def test_tasks_waiting_for_the_broker_can_be_seen_and_cancelled(
    journal: Journal, valkey: Valkey, shared_valkey: Valkey, shipping: str
) -> None:
    settings = settings_of(valkey.url, shared_valkey)
    async with open_runner(TaskSettings(drain_timeout=5), settings, url=shipping) as runner:
        assert isinstance(runner, CeleryRunner)
        valkey.freeze()
        try:
            first, cancelled, last = (runner.submit(note, "x") for _ in range(3))
            await asyncio.to_thread(wait_until, lambda: not runner._publisher.available)
            assert await state_of(runner, first) == "queued"
            assert await runner.cancel_anywhere(cancelled)
            assert await state_of(runner, cancelled) == "cancelled"
        finally:
            valkey.thaw()
        await runner.join(20)
        assert [await state_of(runner, task_id) for task_id in (first, last)] == ["queued"] * 2
        assert await state_of(runner, cancelled) == "cancelled"  # although it has been sent
        message = Message(id=cancelled, name="note", priority=5)
        assert await runner.execute(message) is None
    assert journal.all_of("cancelled", "id") == [cancelled]
    assert queued(valkey) == 3


async def test_cancelling_fails_while_it_cannot_be_stored(valkey: Valkey, shipping: str) -> None:
    async with publishing(valkey.url, shipping) as runner:
        valkey.freeze()
        try:
            task_id = runner.submit(note, "x")
            with pytest.raises(StatesUnavailable):
                await runner.cancel_anywhere(task_id)
        finally:
            valkey.thaw()


async def test_a_shutdown_without_the_broker_waits_for_one_drain_timeout(
    valkey: Valkey, shipping: str, caplog: pytest.LogCaptureFixture
) -> None:
    drain = 2.0
    try:
        async with publishing(valkey.url, shipping, drain_timeout=drain) as runner:
            valkey.kill()
            task_id = runner.submit(note, "lost")
            async with task_session():
                runner.submit(hold_durable)  # its row is not lost
            begin = time.monotonic()
        assert drain <= time.monotonic() - begin < 2 * drain
    finally:
        await asyncio.to_thread(valkey.start)
    assert f"1 tasks never reached the broker: note ({task_id})" in caplog.text


async def test_join_ends_when_the_runner_closes_without_its_broker(
    valkey: Valkey, shipping: str
) -> None:
    try:
        async with publishing(valkey.url, shipping, drain_timeout=0.1) as runner:
            valkey.kill()
            runner.submit(note, "lost")
            joining = asyncio.create_task(runner.join())
            await asyncio.wait((joining,), timeout=0.1)
            assert not joining.done()
        await asyncio.wait_for(joining, 20)
    finally:
        await asyncio.to_thread(valkey.start)


async def test_an_alert_is_sent_by_this_process_while_the_broker_is_away(shipping: str) -> None:
    sender = MemorySender()
    current_sender.set(sender)
    observer = FailureAlerts(AlertSettings(email_to="ops@example.com"))
    with refusing() as broker:
        settings = CelerySettings(broker_url=SecretStr(broker))
        limits, tasks = TaskSettings(drain_timeout=0), (hopeless, report_failure, send_alert)
        async with open_runner(limits, settings, (observer,), shipping, tasks) as runner:
            assert isinstance(runner, CeleryRunner)
            # As on a worker that lost its broker while the task ran.
            with pytest.raises(TaskFailed):
                await runner.execute(Message.of_call(hopeless, ((1,), {}), NO_OPTIONS, {}))
            await asyncio.to_thread(wait_until, lambda: len(sender.sent) == 1)
    assert "hopeless" in sender.sent[0].subject


def queued(valkey: Valkey) -> int:
    """Count the tasks at the broker; one whose sending failed may be there twice."""
    with valkey.client() as client:
        queues = ("tasks\x06\x165", "tasks.due\x06\x165")
        messages = [message for queue in queues for message in client.lrange(queue, 0, -1)]
    return len({json.loads(message)["headers"]["id"] for message in messages})
