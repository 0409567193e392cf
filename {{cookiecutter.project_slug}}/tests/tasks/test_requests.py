"""Tasks of a request: after the response, only if it succeeded, and 503 for a full queue."""

import asyncio
import threading
from typing import Any

import httpx2
import pytest
from fastapi import BackgroundTasks, FastAPI, Response

from app.tasks import TaskRunner, Tasks

from .gate import Gate
from .shop import happened
from .watcher import Watcher


async def test_the_commit_comes_before_the_response_and_tasks_run_after_it(
    app: FastAPI, watcher: Watcher
) -> None:
    async def server(scope: Any, receive: Any, send: Any) -> None:
        async def send_and_note(message: Any) -> None:
            await send(message)
            happened.append(message["type"])

        await app(scope, receive, send_and_note)

    transport = httpx2.ASGITransport(server)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post("/test-shop/1")
    assert answer.status_code == 202
    assert await watcher.until("succeeded", 2) in (answer.json(), answer.json()[::-1])
    assert happened[:3] == ["commit", "http.response.start", "http.response.body"]
    assert {"packing 1 is done", "shipping 1 is done"} < set(happened[3:])


async def test_no_task_runs_when_the_request_fails(
    client: httpx2.AsyncClient, runner: TaskRunner, watcher: Watcher
) -> None:
    for path, status in {
        "1?problem=conflict": 409,
        "1?problem=bug": 500,
        "1?problem=commit": 500,
        "not-a-number": 422,
    }.items():
        assert (await client.post(f"/test-shop/{path}")).status_code == status
    await runner.join(5)
    assert watcher.events == []
    assert (await client.get("/tasks")).json()["durable"] == {}


async def test_tasks_run_even_if_a_background_task_of_fastapi_fails(
    app: FastAPI, client: httpx2.AsyncClient, watcher: Watcher
) -> None:
    def fail() -> None:
        raise OSError

    @app.post("/test-both", status_code=202)
    async def add_both(background: BackgroundTasks, tasks: Tasks) -> str:
        background.add_task(fail)
        return tasks.add_task(print)

    assert (await client.post("/test-both")).status_code == 202
    await watcher.until("succeeded")


@pytest.fixture
def small_queue(settings_env: pytest.MonkeyPatch) -> None:
    """Set up one slot and room for two waiting tasks."""
    settings_env.setenv("TASKS_MAX_CONCURRENCY", "1")
    settings_env.setenv("TASKS_QUEUE_SIZE", "2")


@pytest.mark.usefixtures("small_queue")
async def test_a_full_queue_is_a_503_at_once(
    client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, watcher: Watcher
) -> None:
    for _ in range(2):
        runner.submit(gate.hold)
    answer = await client.post("/test-shop/1")  # the queue has room for one of its two tasks
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"
    gate.open()
    await runner.join(5)
    assert (len(watcher.ids("rejected")), len(watcher.ids("succeeded"))) == (1, 2)
    assert (await client.post("/test-shop/2")).status_code == 202


async def test_an_in_memory_task_can_be_submitted_from_any_thread(
    runner: TaskRunner, watcher: Watcher
) -> None:
    ids = await asyncio.gather(*(asyncio.to_thread(runner.submit, print) for _ in range(10)))
    assert set(await watcher.until("succeeded", 10)) == set(ids)


# Differences from FastAPI's BackgroundTasks.


async def test_tasks_run_concurrently_and_the_request_does_not_wait(
    app: FastAPI, client: httpx2.AsyncClient, runner: TaskRunner, gate: Gate, watcher: Watcher
) -> None:
    async def fail() -> None:
        raise ValueError

    @app.post("/three", status_code=202)
    async def three(tasks: Tasks) -> None:
        tasks.add_task(fail)
        tasks.add_task(gate.hold)
        tasks.add_task(gate.hold)

    assert (await client.post("/three")).status_code == 202
    await gate.holds(2)
    gate.open()
    await runner.join(5)
    assert (len(watcher.ids("failed")), gate.most_inside) == (1, 2)


async def test_tasks_run_when_the_handler_returns_a_response(
    app: FastAPI, client: httpx2.AsyncClient, watcher: Watcher
) -> None:
    @app.post("/response")
    async def respond(tasks: Tasks) -> Response:
        tasks.add_task(print)
        return Response(status_code=204)

    assert (await client.post("/response")).status_code == 204
    await watcher.until("succeeded")


async def test_sync_tasks_run_in_threads_of_their_own(
    app: FastAPI, client: httpx2.AsyncClient, runner: TaskRunner
) -> None:
    threads: list[str] = []

    def record_thread() -> None:
        threads.append(threading.current_thread().name)

    @app.post("/sync")
    def handler(tasks: Tasks) -> None:
        record_thread()
        tasks.add_task(record_thread)

    await client.post("/sync")
    await runner.join(5)
    assert not threads[0].startswith("task-")
    assert threads[1].startswith("task-")
