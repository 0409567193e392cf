"""`Tasks` and `BackgroundTasks` compared: what is the same, and what differs on purpose.

| | BackgroundTasks | Tasks |
|---|---|---|
| runs after the response, in the order added | one after the other | concurrently, within limits |
| a task fails | the later ones never run; the server logs | the others run; observers are called |
| the handler raises, HTTPException included | dropped | dropped |
| the handler returns `Response(background=...)` | only the response's own task runs | all run |
| sync functions | FastAPI's 40 threads | threads of their own |
| the request | lasts until the tasks end | ends before the tasks run |
| number of tasks | bounded only by memory | 503 when the queue is full |
| shutdown | waits for ever or cancels all | drains, then cancels and names the remaining tasks |
| `add_task` returns | None | the id of the task |
| a parameter called `priority` | is the function's | is the task's: use `options(...)` for both |

Tests wait for the tasks with `await runner.join(5)`, because the client gets its answer before.
"""

import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
import httpx2
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Response
from starlette.background import BackgroundTask

from app.tasks import Tasks
from tests.tasks.gate import Gate

from .asgi import running
from .recorder import Recorder

BOTH = pytest.mark.parametrize("background", [Tasks, BackgroundTasks], ids=["ours", "theirs"])


@pytest.fixture
def ran() -> list[str]:
    """Give the list to which tasks add what they ran with."""
    return []


@pytest.fixture
def app(ran: list[str]) -> FastAPI:
    service = FastAPI()
    service.state.ran = ran
    return service


async def get(app: FastAPI, path: str = "/", *, raises: bool = False) -> httpx2.Response:
    """Send a request and wait for its tasks."""
    transport = httpx2.ASGITransport(app, raise_app_exceptions=raises)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get(path)
    await app.state.runner.join(5)
    return answer


@pytest.fixture(autouse=True)
async def runner(app: FastAPI, recorder: Recorder) -> AsyncIterator[None]:
    async with running(app, recorder):
        yield


# FastAPI's tutorial: a task of the handler, a task of a dependency with a query.


@BOTH
async def test_the_tutorials_handler_task_runs(
    app: FastAPI, ran: list[str], background: Any
) -> None:
    def write_notification(email: str, message: str = "") -> None:
        ran.append(f"notification for {email}: {message}")

    @app.get("/send-notification/{email}")
    async def send_notification(email: str, tasks: background) -> dict[str, str]:
        tasks.add_task(write_notification, email, message="some notification")
        return {"message": "Notification sent in the background"}

    answer = await get(app, "/send-notification/foo@example.com")
    assert answer.json() == {"message": "Notification sent in the background"}
    assert ran == ["notification for foo@example.com: some notification"]


@BOTH
async def test_the_tutorials_task_of_a_dependency_runs(
    app: FastAPI, ran: list[str], background: Any
) -> None:
    def get_query(tasks: background, q: str | None = None) -> str | None:
        if q:
            tasks.add_task(ran.append, f"found query: {q}")
        return q

    @app.get("/send-notification/{email}")
    async def send_notification(
        email: str, tasks: background, q: Annotated[str | None, Depends(get_query)]
    ) -> str | None:
        tasks.add_task(ran.append, f"message to {email}")
        return q

    assert (
        await get(app, "/send-notification/foo@example.com?q=some-query")
    ).json() == "some-query"
    assert sorted(ran) == ["found query: some-query", "message to foo@example.com"]


@BOTH
async def test_nested_dependencies_all_add_tasks(
    app: FastAPI, ran: list[str], background: Any
) -> None:
    def inner(tasks: background) -> None:
        tasks.add_task(ran.append, "inner")

    def outer(tasks: background, _: Annotated[None, Depends(inner)]) -> None:
        tasks.add_task(ran.append, "outer")

    @app.get("/", dependencies=[Depends(outer)])
    async def handler(tasks: background) -> None:
        tasks.add_task(ran.append, "handler")

    await get(app)
    assert sorted(ran) == ["handler", "inner", "outer"]


# Starlette: async and sync tasks, several tasks, arguments.


@BOTH
@pytest.mark.parametrize("kind", ["async", "sync", "callable object", "partial"])
async def test_every_sort_of_callable_runs(
    app: FastAPI, ran: list[str], background: Any, kind: str
) -> None:
    async def note(text: str, *, end: str) -> None:
        ran.append(text + end)

    def note_sync(text: str, *, end: str) -> None:
        ran.append(text + end)

    class Note:
        async def __call__(self, text: str, *, end: str) -> None:
            ran.append(text + end)

    funcs: dict[str, Callable[..., Any]] = {
        "async": note,
        "sync": note_sync,
        "callable object": Note(),
        "partial": partial(note),
    }

    @app.get("/")
    async def handler(tasks: background) -> str:
        tasks.add_task(funcs[kind], "done", end="!")
        return "task initiated"

    assert (await get(app)).json() == "task initiated"
    assert ran == ["done!"]


@BOTH
async def test_several_tasks_of_one_request_all_run(app: FastAPI, background: Any) -> None:
    counter = 0

    async def increment(amount: int) -> None:
        nonlocal counter
        counter += amount

    @app.get("/")
    async def handler(tasks: background) -> None:
        for amount in (1, 2, 3):
            tasks.add_task(increment, amount=amount)

    await get(app)
    assert counter == 6


@BOTH
async def test_a_sync_endpoint_can_add_tasks(app: FastAPI, ran: list[str], background: Any) -> None:
    @app.get("/")
    def handler(tasks: background) -> None:
        tasks.add_task(ran.append, "done")

    await get(app)
    assert ran == ["done"]


@BOTH
@pytest.mark.parametrize("error", [HTTPException(409), ValueError()])
async def test_nothing_runs_when_the_handler_raises(
    app: FastAPI, ran: list[str], background: Any, error: Exception
) -> None:
    @app.get("/")
    async def handler(tasks: background) -> None:
        tasks.add_task(ran.append, "never")
        raise error

    assert (await get(app)).status_code in {409, 500}
    assert ran == []


# The differences.


@BOTH
async def test_a_failing_task_stops_later_ones_only_with_background_tasks(
    app: FastAPI, ran: list[str], recorder: Recorder, background: Any
) -> None:
    def fail() -> None:
        raise KeyError

    @app.get("/")
    async def handler(tasks: background) -> None:
        tasks.add_task(fail)
        tasks.add_task(ran.append, "later")

    if background is Tasks:
        assert (await get(app, raises=True)).status_code == 200
        assert ran == ["later"]
        assert recorder.hooks.count("failed") == 1
    else:
        with pytest.raises(KeyError):
            await get(app, raises=True)
        assert ran == []


@BOTH
async def test_tasks_run_beside_the_background_task_of_a_response(
    app: FastAPI, ran: list[str], background: Any
) -> None:
    @app.get("/")
    async def handler(tasks: background) -> Response:
        tasks.add_task(ran.append, "injected")
        return Response(background=BackgroundTask(ran.append, "of the response"))

    await get(app)
    both = ["injected", "of the response"]
    assert sorted(ran) == (both if background is Tasks else both[1:])


@BOTH
async def test_sync_functions_do_not_use_fastapis_threads(app: FastAPI, background: Any) -> None:
    borrowed: list[float] = []
    threads: list[str] = []
    limiter = anyio.to_thread.current_default_thread_limiter()

    def note_it() -> None:
        borrowed.append(limiter.borrowed_tokens)
        threads.append(threading.current_thread().name)

    @app.get("/")
    async def handler(tasks: background) -> None:
        tasks.add_task(note_it)

    await get(app)
    assert borrowed == [0 if background is Tasks else 1]
    assert threads[0].startswith("task-") is (background is Tasks)


async def test_tasks_of_one_request_run_concurrently(app: FastAPI, gate: Gate) -> None:
    @app.get("/")
    async def handler(tasks: Tasks) -> None:
        for number in range(3):
            tasks.add_task(gate.hold, number)
        tasks.add_task(_open_when_three_are_in, gate)

    await get(app)
    assert gate.most_inside == 3


async def _open_when_three_are_in(gate: Gate) -> None:
    await gate.holds(3)
    gate.open()


async def test_a_request_ends_before_its_tasks_run(app: FastAPI, gate: Gate) -> None:
    @app.get("/")
    async def handler(tasks: Tasks) -> str:
        return tasks.add_task(gate.hold)

    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        task_id = (await client.get("/")).json()
    assert gate.left == []
    assert [task.id for task in app.state.runner.snapshot().tasks] == [task_id]
    gate.open()


async def test_a_parameter_called_priority_needs_options(
    app: FastAPI, ran: list[str], recorder: Recorder
) -> None:
    async def note(*, priority: str = "default") -> None:
        ran.append(priority)

    @app.get("/")
    async def handler(tasks: Tasks) -> None:
        tasks.add_task(note, priority=3)
        tasks.options(priority=7).add_task(note, priority="of the function")

    await get(app)
    assert sorted(ran) == ["default", "of the function"]
    assert [info.priority for info in recorder.infos] == [3, 7]
