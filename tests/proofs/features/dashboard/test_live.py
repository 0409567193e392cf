"""What open pages are sent, and that nobody waits for them."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from app.errors import ServiceUnavailable
from app.features.dashboard import live as module
from app.features.dashboard.live import MAX_PAGES, SECTIONS, Live
from app.features.dashboard.recorder import Recorder
from app.features.dashboard.view import make_view
from app.tasks import TaskRunner, TaskSettings
from tests.server import ServerProcess
from tests.tasks.gate import Gate

Changes = AsyncIterator[tuple[str, str]]


@pytest.fixture
def live() -> Live:
    return Live(Recorder())


@pytest.fixture
async def open_page(live: Live) -> AsyncIterator[None]:
    """Have a page open."""
    async with asynccontextmanager(live.count_page)():
        yield


async def take(changes: Changes, count: int = len(SECTIONS)) -> dict[str, str]:
    async with asyncio.timeout(5):
        return dict([await anext(changes) for _ in range(count)])


async def listen(live: Live) -> asyncio.Task[dict[str, str]]:
    """Take all sections that an open page is sent from now on."""
    taking = asyncio.create_task(take(live.changes()))
    await asyncio.sleep(0)  # it waits now
    return taking


@pytest.mark.usefixtures("open_page")
async def test_a_page_that_comes_later_is_not_sent_what_was_before(
    live: Live, runner: TaskRunner, gate: Gate
) -> None:
    """It shows more by then: what somebody has just opened in it would vanish."""
    first = await listen(live)
    await live.update(runner)
    await first
    task_id = runner.submit(gate.hold)
    await gate.holds(1)
    later = await listen(live)
    await live.update(runner)

    assert task_id in (await later)["running"]


@pytest.mark.usefixtures("open_page")
async def test_a_page_that_comes_during_an_update_waits_for_the_next(
    live: Live, runner: TaskRunner, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, go_on = asyncio.Event(), asyncio.Event()

    async def view_slowly(*arguments: Any) -> dict[str, Any]:
        view = await make_view(*arguments)
        seen.set()
        await go_on.wait()
        return view

    monkeypatch.setattr(module, "make_view", view_slowly)
    first = await listen(live)
    update = asyncio.create_task(live.update(runner))
    async with asyncio.timeout(5):
        await seen.wait()
    task_id = runner.submit(gate.hold)
    await gate.holds(1)
    later = await listen(live)
    go_on.set()
    await update
    await first
    await live.update(runner)

    assert task_id in (await later)["running"]


@pytest.mark.usefixtures("open_page")
async def test_an_update_that_fails_lets_the_pages_ask_again(
    live: Live, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_before = live.changes()
    ends = asyncio.create_task(anext(open_before, None))
    await asyncio.sleep(0)  # it waits now
    with monkeypatch.context() as broken:
        broken.setattr(module, "make_view", None)
        with pytest.raises(TypeError):
            await live.update(runner)
    async with asyncio.timeout(5):
        assert await ends is None
    sections = await listen(live)
    await live.update(runner)

    assert tuple(await sections) == SECTIONS


async def test_nothing_is_made_when_no_page_is_open(
    live: Live, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(module, "make_view")

    await live.update(runner)


async def test_a_runner_that_has_not_started_is_left_alone(live: Live) -> None:
    await live.update(TaskRunner(TaskSettings()))


async def test_the_number_of_open_pages_is_limited(live: Live) -> None:
    pages = [live.count_page() for _ in range(MAX_PAGES)]
    for page in pages:
        await anext(page)
    with pytest.raises(ServiceUnavailable, match="too many task pages are open"):
        await anext(live.count_page())
    await pages[0].aclose()  # type: ignore[attr-defined]
    other = live.count_page()
    await anext(other)
    for page in (*pages[1:], other):
        await page.aclose()  # type: ignore[attr-defined]


async def test_nobody_stays_for_ever(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIFETIME", 0)

    async with asyncio.timeout(5):
        assert [change async for change in live.changes()] == []


async def test_a_failure_ends_nothing(
    app: FastAPI, live: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    updates = asyncio.Queue[None]()

    async def update(_: TaskRunner) -> None:
        updates.put_nowait(None)
        msg = "a failure"
        raise RuntimeError(msg)

    monkeypatch.setattr(live, "update", update)
    monkeypatch.setattr(module, "INTERVAL", 0)
    async with live.lifespan(app), asyncio.timeout(5):
        for _ in range(3):
            await updates.get()

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
    assert rest
    assert "GET /dashboard/events 200" in output
    assert "Traceback" not in output
