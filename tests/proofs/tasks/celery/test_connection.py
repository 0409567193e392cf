"""Connections to the broker: reused, replaced when they are lost, and with TLS."""

import asyncio
import os
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from socket import create_connection, create_server, socket
from typing import Self

import pytest
import trustme
from redis import Redis

from app.tasks import TaskState
from app.tasks.celery import BrokerUnavailable
from app.tasks.celery.message import Message
from waiting import wait_until

from .application import hold, note, publishing
from .brokers import Valkey
from .journal import Journal
from .workers import WorkerProcess


def queued_and_unacknowledged(valkey: Valkey) -> tuple[int, int]:
    """Count the messages in the queue and those that a worker has not acknowledged."""
    with valkey.client() as client:
        return int(client.llen("tasks\x06\x165")), valkey.unacknowledged


async def test_an_idle_worker_starts_a_task_at_once(
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
    assert min(taken) < 0.5  # its own poll comes only after a second


async def test_a_worker_recovers_whichever_connection_is_lost_first(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    with WorkerProcess(
        tmp_path, journal, CELERY_BROKER_URL=valkey.url, DATABASE_URL=shipping
    ) as worker:
        worker.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            await journal.until("ran", id=runner.submit(hold, "not acknowledged yet"))
            os.kill(worker.pid, signal.SIGSTOP)  # it finds both losses at once, in this order
            with valkey.client() as client:
                client.client_kill_filter(_type="pubsub")
            valkey.kill()
            os.kill(worker.pid, signal.SIGCONT)
            await asyncio.to_thread(wait_until, lambda: "Cannot connect" in worker.output)
            await asyncio.to_thread(valkey.start)
            await asyncio.to_thread(wait_until, lambda: runner._publisher.available)
            await journal.until("succeeded", id=runner.submit(note, "after"))
        assert "Traceback" not in worker.output


async def test_the_publisher_reuses_its_connection(valkey: Valkey, shipping: str) -> None:
    async with publishing(valkey.url, shipping) as runner:
        runner.submit(note, "x")
        await runner.join(20)
        with valkey.client() as client:
            begin = Usage.of(client)
            await asyncio.to_thread(wait_until, lambda: Usage.of(client).llens > begin.llens + 20)
            assert Usage.of(client).connections == begin.connections


async def test_states_are_stored_although_redis_has_closed_an_idle_connection(
    valkey: Valkey, shipping: str
) -> None:
    async with publishing(valkey.url, shipping) as runner:
        message = Message(id="1", name="note", priority=5)
        await runner._states.save([message])
        for state in (TaskState.RUNNING, TaskState.SUCCEEDED):
            with valkey.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
            await runner._states.save([replace(message, state=state)])
            with valkey.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
            record = await runner.describe("1")
            assert record is not None
            assert record.state == state


@dataclass
class Usage:
    """How often a server has received LLEN, and how many connections it has accepted."""

    llens: int
    connections: int

    @classmethod
    def of(cls, client: Redis) -> Self:
        llens = client.info("commandstats").get("cmdstat_llen", {"calls": 0})["calls"]
        return cls(llens, client.info("stats")["total_connections_received"])


class TlsProxy:
    """Accepts TLS connections and forwards them to a server without TLS."""

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
        with suppress(OSError):  # raised when the listener is closed
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
def proxy(valkey: Valkey, authority: trustme.CA) -> Iterator[TlsProxy]:
    proxy = TlsProxy(int(valkey.url.rpartition(":")[2].partition("/")[0]), authority)
    yield proxy
    proxy.close()


async def test_tls_with_a_trusted_certificate_works(
    proxy: TlsProxy, authority: trustme.CA, valkey: Valkey, shipping: str, tmp_path: Path
) -> None:
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    url = f"rediss://localhost:{proxy.port}/0?ssl_ca_certs={trusted}"
    async with publishing(url, shipping) as runner:
        runner.submit(note, "x")
        await runner.join(20)
    await asyncio.to_thread(wait_until, lambda: queued_and_unacknowledged(valkey) == (1, 0))


async def test_tls_with_an_untrusted_certificate_is_refused(
    proxy: TlsProxy, valkey: Valkey, shipping: str
) -> None:
    async with publishing(f"rediss://localhost:{proxy.port}/0", shipping) as runner:
        with pytest.raises(BrokerUnavailable):
            runner.submit(note, "x")
    assert queued_and_unacknowledged(valkey) == (0, 0)
