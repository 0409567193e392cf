"""The Redis transport: a message is always in its queue or written down as taken."""

import asyncio
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty
from socket import create_connection, create_server, socket
from typing import Any

import pytest
import trustme
from celery import Celery

from app.tasks import TaskSettings
from app.tasks.celery import BrokerUnavailable, CelerySettings, make_celery

from .application import note, publishing
from .brokers import Valkey
from .journal import Journal, wait_until
from .workers import WorkerProcess


def celery_on(valkey: Valkey) -> Celery:
    settings = CelerySettings.model_validate({"broker_url": valkey.url})
    return make_celery(settings, TaskSettings())


def places(valkey: Valkey) -> tuple[int, int]:
    """Count the messages that wait and those that a worker has."""
    with valkey.client() as client:
        return int(client.llen("tasks\x06\x165")), int(client.hlen("unacked"))


def test_a_worker_that_dies_before_it_reads_a_message_does_not_lose_it(valkey: Valkey) -> None:
    celery = celery_on(valkey)
    celery.send_task("note", queue="tasks", priority=5)
    assert places(valkey) == (1, 0)
    with celery.connection_for_read() as connection:
        channel: Any = connection.default_channel
        channel.basic_consume("tasks", no_ack=False, callback=lambda _: None, consumer_tag="1")
        client = channel.client
        client.connection = client.connection_pool.get_connection()
        channel._brpop_start()
        wait_until(lambda: places(valkey)[0] == 0)
        client.connection.disconnect()  # as the system does it for a process that is gone
        channel._in_poll = None
    assert places(valkey) == (0, 1)


def test_a_message_that_somebody_looks_at_is_written_down_too(valkey: Valkey) -> None:
    celery = celery_on(valkey)
    celery.send_task("note", queue="tasks", priority=5)
    with celery.connection_for_read() as connection:
        channel: Any = connection.default_channel
        message = channel.basic_get("tasks")
        assert places(valkey) == (0, 1)
        message.ack()
        assert places(valkey) == (0, 0)


def test_a_worker_survives_the_loss_of_its_broker_however_it_learns_of_it(valkey: Valkey) -> None:
    """Celery closes the connection twice then, and an exception that is new to it ends the worker.

    Any socket may be the first to tell; here it is not the one on which the worker waits.
    """
    celery = celery_on(valkey)
    celery.send_task("note", queue="tasks", priority=5)
    connection = celery.connection_for_read()
    channel: Any = connection.default_channel
    message = channel.basic_get("tasks")
    channel.basic_consume("tasks", no_ack=False, callback=lambda _: None, consumer_tag="1")
    channel.client.connection = channel.client.connection_pool.get_connection()
    for _ in range(3):  # no message, the bell of the one above, no message
        channel._brpop_start()
        with pytest.raises(Empty):
            channel._brpop_read()
    channel._brpop_start()
    remote_control: Any = connection.channel()
    control: Any = celery.control  # whose stubs leave out the mailbox
    control.mailbox.Node(channel=remote_control).listen()
    assert remote_control.client.ping()
    valkey.kill()

    try:
        connection.collect()
        connection.close()
    finally:
        valkey.start()

    assert channel.closed
    with pytest.raises(connection.connection_errors):  # its task has ended in the meantime
        message.ack()


async def test_an_idle_worker_is_woken(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    with WorkerProcess(
        tmp_path, journal, CELERY_BROKER_URL=valkey.url, DATABASE_URL=shipping
    ) as worker:
        worker.wait_until_ready()
        taken = []
        async with publishing(valkey.url, shipping) as runner:
            for _ in range(5):
                begin = time.monotonic()
                await journal.until("succeeded", id=runner.submit(note, "x"))
                taken.append(time.monotonic() - begin)
    assert min(taken) < 0.5  # it looks by itself after a second


class TlsDoor:
    """Lets TLS connections through to a server that speaks none."""

    def __init__(self, port: int, authority: trustme.CA) -> None:
        self._target = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._listener = create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                plain, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket) -> None:
        with suppress(OSError):
            outside = self._context.wrap_socket(plain, server_side=True)
            inside = create_connection(("127.0.0.1", self._target))
            back = threading.Thread(target=_pump, args=(inside, outside), daemon=True)
            back.start()
            _pump(outside, inside)


def _pump(source: socket, sink: socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.close()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def door(valkey: Valkey, authority: trustme.CA) -> Iterator[TlsDoor]:
    door = TlsDoor(int(valkey.url.rpartition(":")[2].partition("/")[0]), authority)
    yield door
    door.close()


async def test_tls_with_a_certificate_that_is_known(
    door: TlsDoor, authority: trustme.CA, valkey: Valkey, shipping: str, tmp_path: Path
) -> None:
    known = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(known)
    url = f"rediss://localhost:{door.port}/0?ssl_ca_certs={known}"
    async with publishing(url, shipping) as runner:
        runner.submit(note, "x")
        await runner.join(20)
    await asyncio.to_thread(wait_until, lambda: places(valkey) == (1, 0))


async def test_tls_with_a_certificate_that_nobody_knows(
    door: TlsDoor, valkey: Valkey, shipping: str
) -> None:
    async with publishing(f"rediss://localhost:{door.port}/0", shipping) as runner:
        with pytest.raises(BrokerUnavailable):
            runner.submit(note, "x")
    assert places(valkey) == (0, 0)
