"""The task page: what it shows, and what its buttons do."""

import re
from html import unescape

import httpx2
from structlog.contextvars import bound_contextvars

from app.tasks import Priority, TaskRunner, report_progress
from tests.tasks.gate import Gate
from tests.tasks.held import Held, Submit, fail, hold, limited
from tests.tasks.watcher import Watcher

HOSTILE = "</td><script>alert(1)</script>\"'&"


async def read(client: httpx2.AsyncClient) -> str:
    response = await client.get("/dashboard")
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.text)


def figure(page: str, label: str) -> str:
    match = re.search(rf"<dt>{label}</dt> <dd[^>]*>(.*?)</dd>", page)
    assert match is not None
    return match[1]


async def test_running_and_waiting_tasks_are_shown(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, submit: Submit
) -> None:
    running = await submit(hold, priority=Priority.HIGH)
    delayed = runner.options(delay=1000).submit(gate.hold)
    await submit(hold, delay=1000)
    await gate.holds(1)
    page = await read(client)

    assert (figure(page, "Running"), figure(page, "Waiting")) == ("1", "0")
    assert ">due, 1 later<" in page
    assert "now 0, at most 0." in page
    assert re.search(rf'title="{running}".*?>3</td>.*?runs for [\d.]+ m?s</td>.*?60 s <meter', page)
    assert re.search(rf'title="{delayed}".*?>5</td>.*?due in 17 min</td>.*?5 min<', page)
    assert re.search(r'queued</span> <span class="now muted">due in 17 min<', page)


async def test_limits_of_a_task_are_shown(client: httpx2.AsyncClient, runner: TaskRunner) -> None:
    runner.submit(limited)
    await runner.join(5)
    page = await read(client)
    row = re.search(r'<th scope="row" class="break">limited</th>(.*?)</tr>', page)
    assert row is not None
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row[1])

    assert figure(page, "Ended") == "1"
    assert cells[:4] == ["in memory", "3 at once, 20/minute", "1", "0"]
    assert all(re.fullmatch(r"[\d.]+ m?s / [\d.]+ m?s", cell) for cell in cells[4:6])


async def test_a_failure_has_its_traceback_and_no_secrets(
    client: httpx2.AsyncClient, watcher: Watcher, submit: Submit
) -> None:
    task_id = await submit(fail, f"mysql://me:secret@db/x {HOSTILE}")
    await watcher.until("failed")
    page = await read(client)

    assert figure(page, "Failed") == "1"
    assert re.search(r"<pre [^>]*>Traceback \(most recent call last\): .*in fail.*</pre>", page)
    assert "ValueError: mysql://***@db/x" in page
    assert "secret" not in page
    assert "<script>" not in page
    assert re.search(rf'title="{task_id}".*failed.*<button[^>]*value="{task_id}".*Retry', page)


async def press(client: httpx2.AsyncClient, action: str, task_id: str) -> str:
    response = await client.post(f"/dashboard/{action}", data={"task": task_id})
    assert response.status_code == 303
    return str(response.headers["Location"]).removeprefix("/dashboard?notice=")


async def test_running_tasks_can_be_cancelled(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, watcher: Watcher, submit: Submit
) -> None:
    durable = await submit(hold)
    in_memory = runner.submit(gate.hold)
    await gate.holds(2)
    for task_id in (durable, in_memory):
        assert await press(client, "cancel", task_id) == "cancel"
    await watcher.until("cancelled", 2)

    assert gate.left == []
    assert await press(client, "cancel", durable) == "not-cancel"


async def test_a_failed_task_can_be_retried(
    client: httpx2.AsyncClient, watcher: Watcher, submit: Submit
) -> None:
    task_id = await submit(fail, "no")
    await watcher.until("failed")
    Held.fixed = True

    assert await press(client, "retry", task_id) == "retry"
    await watcher.until("succeeded")
    assert await press(client, "retry", task_id) == "not-retry"


async def test_a_task_can_be_paused_and_resumed(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, watcher: Watcher
) -> None:
    assert await press(client, "pause", "limited") == "pause"
    runner.submit(limited)
    runner.submit(gate.hold)
    await gate.holds(1)
    page = await read(client)
    assert 'limited <span class="state">paused</span>' in page
    assert re.search('value="limited" formaction="dashboard/resume"', page)
    assert watcher.ids("started") == watcher.ids("queued")[1:]

    assert await press(client, "resume", "limited") == "resume"
    await watcher.until("succeeded")
    assert await press(client, "pause", "nobody") == "unknown"


async def test_equal_errors_are_one_line_and_can_be_retried_together(
    client: httpx2.AsyncClient, watcher: Watcher, submit: Submit
) -> None:
    ids = [await submit(fail, "no") for _ in range(3)]
    await watcher.until("failed", 3)
    Held.fixed = True
    line = re.search(r'<b>3 .</b> ValueError: no</td>.*?href="([^"]*)"', await read(client))
    assert line is not None
    page = (await client.get("/" + unescape(line[1]))).text
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w*)">', page))
    response = await client.post("/dashboard/retry-all", data=fields)
    done = (await client.get(response.headers["Location"])).text

    assert fields == {"state": "failed", "name": "fail"}
    assert all(f'href="/dashboard/tasks/{task_id}"' in page for task_id in ids)
    assert "<button>Retry all 3</button>" in page
    assert "The tasks will run again." in done
    await watcher.until("succeeded", 3)


async def test_a_task_has_a_page_with_its_progress_or_failure(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, watcher: Watcher, submit: Submit
) -> None:
    async def work() -> None:
        report_progress(3, 10, "reading")
        await gate.hold()

    running = runner.submit(work)
    await gate.holds(1)
    with bound_contextvars(request_id="r-1"):
        failed = await submit(fail, f"mysql://me:secret@db/x {HOSTILE}")
    await watcher.until("failed")
    pages = [(await client.get(f"/dashboard/tasks/{i}")).text for i in (running, failed)]

    assert '<progress value="3" max="10"' in pages[0]
    assert "3 of 10<" in pages[0]
    assert f'<button class="quiet" name="task" value="{running}">Cancel</button>' in pages[0]
    for text in ("r-1", "<dt>message</dt>", "mysql://***@db/x", "Traceback", ">Retry</button>"):
        assert text in pages[1]
    assert "secret" not in pages[1]
    assert "<script>" not in pages[1]
    assert (await client.get("/dashboard/tasks/unknown")).status_code == 404
