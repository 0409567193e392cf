"""SIGTERM and Ctrl-C: probes see it first, tasks may finish, and only Ctrl-C is faster."""

import asyncio
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType

import httpx2
import pytest

from app.lifespan import Shutdown
from app.service import create_app
from tests.conftest import PRODUCTION
from tests.server import SECONDS, ServerProcess

SERVICE = """
import asyncio, sys
from app.service import create_app
from app.tasks import Tasks, task

@task
def read_a_line():
    print("task started", flush=True)
    sys.stdin.readline()
    print("task done", flush=True)

@task
def say(word):
    print("task says", word, flush=True)

@task
async def hang():
    print("task started", flush=True)
    await asyncio.Event().wait()

app = create_app()

@app.post("/read", status_code=202)
async def read(tasks: Tasks) -> str:
    return tasks.add_task(read_a_line)

@app.post("/say/{word}", status_code=202)
async def start_to_say(word: str, tasks: Tasks) -> str:
    return tasks.add_task(say, word)

@app.post("/hang", status_code=202)
async def start_to_hang(tasks: Tasks) -> str:
    return tasks.add_task(hang)
"""

Serve = Callable[..., ServerProcess]


@pytest.fixture
def serve(tmp_path: Path, database_url: str) -> Serve:
    """Return a function that starts the service."""
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    return partial(ServerProcess, tmp_path, "service:app", DATABASE_URL=database_url)


def test_requests_during_the_delay_are_served_and_running_tasks_finish(serve: Serve) -> None:
    with serve(SHUTDOWN_DELAY="3600") as server:
        server.post("/read")
        server.wait_for_line("task started")
        server.terminate()
        server.wait_for_line("shutdown announced")
        server.terminate()  # from systemd and from `uv run`
        accepted = server.post("/say/hello")
        server.wait_for_line("task says hello")
        server.interrupt()  # ends the delay
        server.wait_for_line("Waiting for application shutdown")
        with pytest.raises(httpx2.ConnectError):
            server.get("/health/live")
        server.say("go on")
        server.wait_for_line("task done")
        code = server.wait_for_exit()

    assert accepted.status_code == 202
    assert "Traceback" not in "".join(server.output)
    assert "".join(server.output).count("shutdown announced") == 1
    assert code == 0


def test_task_that_outlives_the_drain_timeout_is_cancelled_and_logged(serve: Serve) -> None:
    variables = {"SHUTDOWN_DELAY": "0.01", "TASKS_DRAIN_TIMEOUT": "0.1"}
    with serve(**variables) as server:
        task_id = server.post("/hang").json()
        server.wait_for_line("task started")

        server.terminate()
        line = server.wait_for_line("were cancelled by the shutdown")
        code = server.wait_for_exit()

    assert f"hang ({task_id})" in line
    assert code == -signal.SIGTERM
    assert "Traceback" not in "".join(server.output)


def test_a_second_ctrl_c_cancels_what_the_shutdown_waits_for(serve: Serve) -> None:
    with serve(TASKS_DRAIN_TIMEOUT="3600") as server:
        task_id = server.post("/hang").json()
        server.wait_for_line("task started")

        server.interrupt()
        server.wait_for_line("the shutdown waits for 1 tasks")
        server.interrupt()
        line = server.wait_for_line("were cancelled by the shutdown")
        code = server.wait_for_exit()

    assert f"hang ({task_id})" in line
    assert code == 0  # to uvicorn, Ctrl-C is a normal end
    assert "Traceback" not in "".join(server.output)


def test_every_worker_is_unready_during_the_shutdown_delay(serve: Serve) -> None:
    environment = {**PRODUCTION, "WEB_CONCURRENCY": "2", "SHUTDOWN_DELAY": "60"}
    with serve(**environment) as server:
        url = server.url
        for _ in range(2):
            server.wait_for_line("Application startup complete")
        server.terminate()
        for _ in range(2):
            server.wait_for_line("shutdown announced")
        # A worker may announce it before it listens. Either worker may take a new connection.
        transport = httpx2.HTTPTransport(retries=5)
        with httpx2.Client(base_url=url, transport=transport, timeout=SECONDS) as client:
            close = {"Connection": "close"}
            statuses = [client.get("/health/ready", headers=close).status_code for _ in range(10)]
            live = client.get("/health/live").status_code
        for worker in re.findall(r"Started server process \[(\d+)\]", "".join(server.output)):
            os.kill(int(worker), signal.SIGINT)  # ends the delay
        code = server.wait_for_exit()

    assert "".join(server.output).count("has its own task queue and its own limits") == 2
    assert statuses == [503] * 10
    assert live == 200
    assert code == 0


Handler = Callable[[int, FrameType | None], None]


class Signals:
    """A server's signal handler that records what it receives."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.called = asyncio.Event()

    def handle(self, signum: int, _: FrameType | None) -> None:
        self.received.append(signum)
        self.called.set()


@pytest.fixture
def server_signals() -> Iterator[Signals]:
    """Install a SIGTERM handler, as a server does."""
    signals = Signals()
    before = signal.signal(signal.SIGTERM, signals.handle)
    yield signals
    signal.signal(signal.SIGTERM, before)


async def test_server_handler_is_called_after_the_delay(server_signals: Signals) -> None:
    shutdown = Shutdown()
    with shutdown.announce(0.01):
        signal.raise_signal(signal.SIGTERM)
        assert shutdown.announced
        assert server_signals.received == []
        async with asyncio.timeout(5):
            await server_signals.called.wait()

    assert server_signals.received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == server_signals.handle


async def test_server_handler_is_called_at_once_without_a_delay(server_signals: Signals) -> None:
    shutdown = Shutdown()
    with shutdown.announce(0):
        signal.raise_signal(signal.SIGTERM)

    assert shutdown.announced
    assert server_signals.received == [signal.SIGTERM]


async def test_a_second_sigterm_does_not_end_the_delay(server_signals: Signals) -> None:
    with Shutdown().announce(3600):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    assert server_signals.received == []


async def test_signal_has_its_default_effect_when_there_was_no_handler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised: list[int] = []
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with Shutdown().announce(0):
            handler = signal.getsignal(signal.SIGTERM)
            assert callable(handler)
            monkeypatch.setattr(signal, "raise_signal", raised.append)
            handler(signal.SIGTERM, None)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)

    assert raised == [signal.SIGTERM]


async def test_ctrl_c_skips_the_delay(server_signals: Signals) -> None:
    before = signal.signal(signal.SIGINT, server_signals.handle)
    try:
        with Shutdown().announce(3600):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == server_signals.handle
    finally:
        signal.signal(signal.SIGINT, before)

    assert server_signals.received == [signal.SIGINT]


async def test_ctrl_c_ends_the_drain_and_has_its_former_effect_after_it(
    settings_env: pytest.MonkeyPatch, server_signals: Signals
) -> None:
    settings_env.setenv("TASKS_DRAIN_TIMEOUT", "3600")
    app, closed_in = create_app(), list[float]()

    async def interrupt_the_drain() -> None:
        app.state.database.close_in = closed_in.append
        assert not app.state.runner.accepting  # it starts when the drain first waits
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    before = signal.signal(signal.SIGINT, server_signals.handle)
    try:
        async with asyncio.timeout(10), app.router.lifespan_context(app):
            app.state.runner.submit(interrupt_the_drain)
        assert server_signals.received == []
        assert signal.getsignal(signal.SIGINT) == server_signals.handle
    finally:
        signal.signal(signal.SIGINT, before)
    assert closed_in == [2.0]  # a database that hangs must not hold up the shutdown


def test_lifespan_ends_outside_the_main_thread(settings_env: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - a fixture
    loop_factory = pytest.importorskip("uvloop").new_event_loop  # its errors are not asyncio's
    app = create_app()

    async def start_and_end() -> str:
        async with app.router.lifespan_context(app):
            return "ended"

    def serve() -> str:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(start_and_end())

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(serve).result(30) == "ended"


def test_signal_handler_is_unchanged_outside_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    handlers: list[object] = []

    async def announce() -> None:
        with Shutdown().announce(3600):
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=lambda: asyncio.run(announce()))
    thread.start()
    thread.join(5)

    assert handlers == [before]
