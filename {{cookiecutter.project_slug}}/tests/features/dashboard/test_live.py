"""What open pages are sent, and that nobody waits for them."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from app.errors import ServiceUnavailable
from app.features.dashboard import live as module
from app.features.dashboard.live import LISTENERS, SECTIONS, Live
from app.features.dashboard.recorder import Recorder
from app.features.dashboard.samples import Samples
from app.features.dashboard.view import View, make_view
from app.tasks import TaskRunner, TaskSettings
from tests.server import SECONDS, ServerProcess
from tests.tasks.gate import Gate

Changes = AsyncIterator[tuple[str, str]]


class Listeners(set[asyncio.Event]):
    """Those who listen; tells when one more does."""

    def __init__(self) -> None:
        self.joined = asyncio.Queue[None]()

    def add(self, listener: asyncio.Event) -> None:
        super().add(listener)
        self.joined.put_nowait(None)


@pytest.fixture
def live() -> Live:
    live = Live(Recorder(), Samples())
    live._listeners = Listeners()
    return live


async def take(changes: Changes, count: int = len(SECTIONS)) -> dict[str, str]:
    async with asyncio.timeout(5):
        return dict([await anext(changes) for _ in range(count)])


async def listen(live: Live, changes: Changes) -> asyncio.Task[dict[str, str]]:
    """Take all sections that come from now on."""
    assert isinstance(live._listeners, Listeners)
    taking = asyncio.create_task(take(changes))
    async with asyncio.timeout(5):
        await live._listeners.joined.get()
    return taking


async def test_a_page_gets_all_sections_and_then_what_changed(
    live: Live, runner: TaskRunner, gate: Gate
) -> None:
    changes = live.changes()
    first = await listen(live, changes)
    await live.look(runner)
    sections = await first
    task_id = runner.submit(gate.hold)
    await gate.holds(1)
    await live.look(runner)
    changed = await take(changes, 2)
    await changes.aclose()  # type: ignore[attr-defined]

    assert tuple(sections) == SECTIONS
    assert all(html.startswith(f'<section id="{name}"') for name, html in sections.items()
               if name != "charts")  # fmt: skip
    assert '<section id="charts"' in sections["charts"]
    assert {"figures", "running"} == set(changed)
    assert task_id in changed["running"]


async def test_a_page_that_comes_later_is_not_sent_what_was_before(
    live: Live, runner: TaskRunner, gate: Gate
) -> None:
    """It shows more by then: what somebody has just opened in it would vanish."""
    first = await listen(live, live.changes())
    await live.look(runner)
    await first
    task_id = runner.submit(gate.hold)
    await gate.holds(1)
    later = await listen(live, live.changes())
    await live.look(runner)

    assert task_id in (await later)["running"]


async def test_a_page_that_comes_during_a_look_waits_for_the_next(
    live: Live, runner: TaskRunner, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, go_on = asyncio.Event(), asyncio.Event()

    async def look_slowly(*arguments: Any) -> View:
        view = await make_view(*arguments)
        seen.set()
        await go_on.wait()
        return view

    monkeypatch.setattr(module, "make_view", look_slowly)
    first = await listen(live, live.changes())
    look = asyncio.create_task(live.look(runner))
    async with asyncio.timeout(5):
        await seen.wait()
    task_id = runner.submit(gate.hold)
    await gate.holds(1)
    later = await listen(live, live.changes())
    go_on.set()
    await look
    await first
    await live.look(runner)

    assert task_id in (await later)["running"]


async def test_nothing_is_made_when_nobody_looks(
    live: Live, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(module, "make_view")

    await live.look(runner)


async def test_a_runner_that_has_not_started_is_left_alone(live: Live) -> None:
    await live.look(TaskRunner(TaskSettings()))


async def test_the_places_are_limited_and_given_back(live: Live) -> None:
    places = [live.take_place() for _ in range(LISTENERS)]
    for place in places:
        await anext(place)
    with pytest.raises(ServiceUnavailable, match="too many task pages are open"):
        await anext(live.take_place())
    await places[0].aclose()  # type: ignore[attr-defined]
    other = live.take_place()
    await anext(other)
    for place in (*places[1:], other):
        await place.aclose()  # type: ignore[attr-defined]


async def test_nobody_stays_for_ever(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIFETIME", 0)

    async with asyncio.timeout(5):
        assert [change async for change in live.changes()] == []


SERVICE = """
from time import time
from app.features.dashboard import live
from app.slow_readers import SlowReaders

live.LISTENERS, live.INTERVAL = 1, 0.01
live.render_fragment = lambda *_: f"{time()}" * 10_000

from app.main import create_app
app = SlowReaders(create_app(), 0.5)
"""


def test_who_does_not_read_makes_room_for_another(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    with ServerProcess(tmp_path, "service:app", DATABASE_URL=database_url) as server:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        with socket.create_connection(address, timeout=SECONDS) as connection:
            connection.sendall(b"GET /dashboard/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
            refused = server.get("/dashboard/events").status_code
            server.wait_for_line("a slow reader lost its connection")
            with stream(server) as lines:
                assert next(lines) == "event: figures"

    assert refused == 503
    assert "Traceback" not in "".join(server.output)


async def test_a_bad_moment_ends_nothing(
    app: FastAPI, live: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = asyncio.Queue[None]()

    async def look(_: TaskRunner) -> None:
        looks.put_nowait(None)
        msg = "a bad moment"
        raise RuntimeError(msg)

    monkeypatch.setattr(live, "look", look)
    monkeypatch.setattr(module, "INTERVAL", 0)
    async with live.lifespan(app), asyncio.timeout(5):
        for _ in range(3):
            await looks.get()

    assert "could not be brought up to date" in caplog.text


@contextmanager
def stream(server: ServerProcess) -> Iterator[Iterator[str]]:
    with httpx2.stream("GET", f"{server.url}/dashboard/events", timeout=30) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["Cache-Control"] == "no-cache"
        yield response.iter_lines()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_shutdown_does_not_wait_for_open_pages(
    tmp_path: Path, database_url: str, signum: signal.Signals
) -> None:
    with ServerProcess(tmp_path, SHUTDOWN_DELAY="0", DATABASE_URL=database_url) as server:
        with stream(server) as lines, stream(server):
            assert next(lines) == "event: figures"
            begin = time.monotonic()
            server.terminate() if signum is signal.SIGTERM else server.interrupt()
            rest = list(lines)
        server.wait_for_exit()
        end = time.monotonic()

    output = "".join(server.output)
    assert end - begin < 15  # else it is for ever
    assert "retry: 2000" in rest
    assert "path=/dashboard/events status=200" in output
    assert "Traceback" not in output
