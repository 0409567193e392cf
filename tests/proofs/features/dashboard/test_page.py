"""`GET /dashboard`: its content, who can see it, and how large it gets."""

import errno
import logging
import re
from dataclasses import replace
from html import unescape
from time import process_time

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.db import Database
from app.db.readiness import Readiness
from app.features.dashboard.view import make_view
from app.tasks import TaskRunner, TaskStore
from tests.conftest import API_KEY
from tests.tasks.gate import Gate
from tests.tasks.held import Submit, fail, hold
from tests.tasks.watcher import Watcher

HOSTILE = "</td><script>alert(1)</script>\"'&\n\r\0"


async def read(client: httpx2.AsyncClient) -> str:
    response = await client.get("/dashboard")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    return re.sub(r"\s+", " ", response.text)


def figure(page: str, label: str) -> str:
    match = re.search(rf"<dt>{label}</dt> <dd[^>]*>(.*?)</dd>", page)
    assert match is not None
    return match[1]


async def test_page_of_an_idle_service_says_so(client: httpx2.AsyncClient) -> None:
    page = await read(client)

    assert "<title>Tasks · " in page
    assert figure(page, "Waiting") == figure(page, "Running") == "0"
    assert "No task is running or waiting." in page
    assert "None since the start." in page
    assert "There are no durable tasks." in page


async def test_pages_show_the_tasks_and_the_trouble_when_the_disk_is_full(
    client: httpx2.AsyncClient, app: FastAPI, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signed-in user sees everything that can be read, and the trouble."""

    async def fill() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    task_id = await submit(hold, delay=1000)
    await client.post("/sign-in", data={"key": client.headers.pop("X-API-Key")})
    monkeypatch.setattr(app.state, "readiness", Readiness())
    monkeypatch.setattr(app.state.database, "check", fill)
    page = await read(client)

    assert "The database cannot be used." in page
    assert task_id in page
    assert task_id in (await client.get("/dashboard/tasks")).text


async def test_page_has_no_inline_code_and_no_foreign_address(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate
) -> None:
    runner.submit(gate.hold)
    await gate.holds(1)
    page = await read(client)

    assert not re.search(r"style=| on\w+=|<style|javascript:", page)
    assert re.findall(r"<script[^>]*>(.*?)</script>", page) == [""]
    addresses = re.findall(r'(?:src|href|action)="([^"#]+)', page)
    assert addresses
    assert all(re.match(r"/\w|dashboard/", address) for address in addresses)


async def test_static_files_need_no_key(app: FastAPI) -> None:
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        script = await client.get("/static/dashboard/dashboard.js")
        style = await client.get("/static/dashboard/dashboard.css")

    assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert len(script.content) < 5000
    assert style.headers["Content-Type"] == "text/css; charset=utf-8"


async def test_hostile_text_is_escaped(
    client: httpx2.AsyncClient,
    app: FastAPI,
    runner: TaskRunner,
    gate: Gate,
    watcher: Watcher,
    submit: Submit,
) -> None:
    async def hostile(message: str) -> None:
        if message:
            raise ValueError(message)
        await gate.hold()

    hostile.__qualname__ = HOSTILE * 20
    app.title = HOSTILE
    runner.submit(hostile, HOSTILE)
    runner.submit(hostile, "")
    runner.options(delay=1000).submit(hostile, "")
    await submit(fail, HOSTILE)
    await watcher.until("failed", 2)
    await gate.holds(1)
    page = await read(client)

    assert "<script>" not in page
    assert page.count("&lt;script&gt;alert(1)") > 5
    assert "\0" not in page


@pytest.mark.usefixtures("nothing_pruned")
@pytest.mark.parametrize(
    ("state", "time", "shown"),
    [
        ("paused", 0.0, ""),
        ("queued", 0.0, ">20,... d "),
        ("failed", 9e9, ">just now<"),
    ],
)
async def test_page_shows_rows_of_unknown_states_and_values(
    client: httpx2.AsyncClient, app: FastAPI, submit: Submit, state: str, time: float, shown: str
) -> None:
    await submit(hold, delay=1000)
    database: Database = app.state.database
    row = {"state": state, "time": time, "end": time}
    async with database.session() as session:
        statement = (
            "UPDATE background_tasks SET state = :state, priority = 12, timeout = -1,"
            " created_at = :time, finished_at = :end"
        )
        await session.execute(text(statement), row)
    page = await read(client)

    assert re.search(rf'<span class="state {state}">{state}</span> <b>1</b>', page)
    assert re.search(shown, page)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("arguments", '{"a": "\\ud800\\u0000", "b": NaN, "c": [1e999, "\\ud800"], "\\ud800": 1}'),
        ("arguments", '{"a": ' + "[" * 500 + "]" * 500 + "}"),
        ("arguments", '{"a": "' + "x" * 1_000_000 + '"}'),
        ("arguments", "no JSON"),
        ("context", '["log.request_id"]'),
        ("context", '{"log.request_id": {"a": 1}}'),
        ("context", ""),
        ("progress", '{"done": NaN, "total": 0, "note": "</td><script>alert(1)</script>"}'),
        ("progress", '{"done": "x", "total": "<b>", "note": 1}'),
        ("progress", '{"finished": 1}'),
        ("progress", "7"),
        ("traceback", "</pre><script>alert(1)</script>"),
        ("error", "</pre><script>alert(1)</script>"),
        ("name", "</pre><script>alert(1)</script>\"'&\n"),
    ],
)
async def test_any_value_in_a_row_is_shown_short_and_escaped(
    client: httpx2.AsyncClient, app: FastAPI, submit: Submit, column: str, value: str
) -> None:
    """The JSON and the page are both short, and the page has no foreign HTML."""
    task_id = await submit(hold, delay=1000)
    database: Database = app.state.database
    statement = f"UPDATE background_tasks SET state = 'failed', {column} = :value"  # noqa: S608 - fixed names
    async with database.session() as session:
        await session.execute(text(f"{statement}, finished_at = created_at"), {"value": value})
    for path in ("/tasks/{}", "/tasks?state=failed", "/dashboard/tasks/{}", "/dashboard/tasks"):
        response = await client.get(path.format(task_id))
        assert response.status_code == 200
        assert len(response.content) < 20_000
        if "dashboard" in path:
            assert "<script>" not in response.text


async def test_durable_tasks_are_filtered_and_paged(
    client: httpx2.AsyncClient, submit: Submit
) -> None:
    ids = [await submit(hold, delay=1000) for _ in range(55)]
    first = (await client.get("/dashboard/tasks?state=&name=hold")).text
    older = re.search(r'<a rel="next" href="([^"]*)"', first)
    assert older is not None
    second = (await client.get("/dashboard/tasks" + unescape(older[1]))).text
    failed = (await client.get("/dashboard/tasks?state=failed&name=hold")).text

    assert re.findall(r'title="(\w+)"', first + second) == ids[::-1]
    assert '<option value="failed" selected>' in failed
    assert "There are no such tasks." in failed
    assert "Retry all" not in failed


async def test_counts_of_durable_tasks_stop_at_a_limit(
    client: httpx2.AsyncClient, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TaskStore, "COUNTED", 2)
    for numbers in ("1", "2+", "2+"):
        await submit(hold, delay=1000)
        assert f"queued</span> <b>{numbers}</b>" in await read(client)


@pytest.mark.parametrize(
    ("notice", "text"), [("cancel", "The task is cancelled."), (HOSTILE, ""), ("", "")]
)
async def test_only_known_notices_are_shown(
    client: httpx2.AsyncClient, notice: str, text: str
) -> None:
    page = (await client.get("/dashboard", params={"notice": notice})).text

    assert ('<p class="notice" role="status">' in page) is bool(text)
    assert text in page
    assert "<script>" not in page


async def test_page_of_ten_thousand_tasks_is_small_and_quick(
    client: httpx2.AsyncClient,
    app: FastAPI,
    runner: TaskRunner,
    gate: Gate,
    watcher: Watcher,
    submit: Submit,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The page has less than 100 kB and takes less than 0.5 s of processor time."""

    async def with_a_long_traceback(depth: int) -> None:
        if depth:
            await with_a_long_traceback(depth - 1)
        raise ValueError("x<" * 5000)

    caplog.set_level(logging.WARNING)  # not three lines per task
    for _ in range(10):
        runner.submit(with_a_long_traceback, 50)
        await submit(fail, "y" * 5000)
    await watcher.until("failed", 20)
    for n in range(10_020):
        runner.submit(gate.hold, n, priority=n % 10)
    await gate.holds(20)
    snapshots = [runner.snapshot(0) for _ in range(60)]
    start = process_time()
    await make_view(runner, app.state.history, snapshots, trouble=None)
    seconds = process_time() - start
    response = await client.get("/dashboard")
    gate.open()
    await runner.join(60)

    assert len(response.content) < 100_000
    assert figure(re.sub(r"\s+", " ", response.text), "Waiting") == "10,000"
    assert "9,990 more wait." in response.text
    assert seconds < 0.5


async def test_every_address_has_the_root_path(app: FastAPI) -> None:
    transport = httpx2.ASGITransport(app, root_path="/svc")
    headers = {"X-API-Key": API_KEY, "Accept": "text/html"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://test/svc/", headers=headers
    ) as client:
        page = await client.get("dashboard")
        done = await client.post("dashboard/cancel", data={"task": "unknown"})

    addresses = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
    assert addresses
    assert all(address.startswith("/svc/") for address in addresses)
    assert done.headers["Location"] == "/svc/dashboard?notice=not-cancel"


async def test_page_names_what_is_unknown_when_tasks_run_elsewhere(
    client: httpx2.AsyncClient, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = replace(runner.snapshot(), runs_elsewhere=True)
    monkeypatch.setattr(runner, "snapshot", lambda _: elsewhere)
    page = await read(client)

    assert "The tasks run in worker processes." in page
    assert page.count("This process does not know them.") == 2
    assert "<svg" not in page
    assert "There are no durable tasks." in page


async def test_equal_errors_of_an_in_memory_task_share_a_line(
    client: httpx2.AsyncClient, runner: TaskRunner, watcher: Watcher
) -> None:
    async def break_down(n: int) -> None:
        raise ValueError("odd" if n % 2 else "even")

    for n in range(25):
        runner.submit(break_down, n)
    await watcher.until("failed", 25)
    page = await read(client)

    assert re.findall(r"<b>(\d+) .</b> ValueError: (\w+)</span>", page) == [
        ("13", "even"), ("12", "odd"),
    ]  # fmt: skip
    assert page.count("<details") == 2


async def test_updates_of_the_page_are_not_in_the_access_log(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await read(client)
    await client.get("/dashboard/tasks")

    assert "GET /dashboard/tasks 200" in caplog.text
    assert "GET /dashboard 200" not in caplog.text


async def test_one_task_is_written_in_the_singular(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, watcher: Watcher, submit: Submit
) -> None:
    await submit(fail, "no")
    await watcher.until("failed")
    for _ in range(31):
        runner.submit(gate.hold)
    await gate.holds(20)

    assert "1 more waits." in await read(client)
    assert ">Retry it<" in (await client.get("/dashboard/tasks?state=failed")).text
