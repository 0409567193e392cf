"""`Tasks` in a real application: after the response, and only if the request succeeded."""

import asyncio
from typing import Any

import httpx2
import pytest
from fastapi import BackgroundTasks, FastAPI
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from app.errors import add_error_handlers
from app.tasks import Priority, Tasks
from app.tasks.dependency import RequestTasks

from .asgi import Exchange, running
from .recorder import Recorder
from .service import create_service, log


@pytest.fixture
def service() -> FastAPI:
    """Give the application, with an empty log."""
    return create_service()


@pytest.fixture
def problems(service: FastAPI) -> None:
    """Make the application answer errors as the service does."""
    add_error_handlers(service)


def client_of(app: FastAPI) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://test")


async def test_add_task_returns_the_id_of_the_task(service: FastAPI, recorder: Recorder) -> None:
    async with running(service, recorder), client_of(service) as client:
        answer = await client.get("/ok")
    assert answer.json()["task_id"] == recorder.infos[1].id
    assert recorder.infos[1].priority == Priority.HIGH


async def test_sync_endpoints_can_add_tasks_from_their_threads(
    service: FastAPI, recorder: Recorder
) -> None:
    async with running(service, recorder) as runner, client_of(service) as client:
        ids = (await client.get("/sync")).json()
        await runner.join(5)
    assert ids == [info.id for info in recorder.infos[1:]]
    assert sorted(log) == ["0", "1", "2", "3", "4", "task of the dependency"]


async def test_options_of_a_call_reach_the_task(service: FastAPI, recorder: Recorder) -> None:
    async with running(service, recorder), client_of(service) as client:
        assert (await client.get("/options")).status_code == 200
    info: Any = recorder.infos[0]
    assert (info.priority, info.timeout, info.delay, info.retry.attempts) == (0, 9, 0.001, 7)
    assert log == ["with options"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/raises?error=bug", 500),
        ("/raises?error=http", 409),
        ("/commit?commit=fails", 500),
        ("/bad-priority", 500),
        ("/raises", 422),
        ("/nowhere", 404),
    ],
)
async def test_nothing_runs_and_no_capacity_leaks_when_the_request_fails(
    service: FastAPI, recorder: Recorder, path: str, status: int
) -> None:
    async with running(service, recorder, queue_size=2) as runner, client_of(service) as client:
        for _ in range(3):
            assert (await client.get(path)).status_code == status
            assert runner._capacity.reserved == 0
    assert log == []
    assert recorder.events == []


async def test_nothing_runs_when_the_server_cancels_the_request(service: FastAPI) -> None:
    def cancel(_: dict[str, Any]) -> None:
        raise asyncio.CancelledError

    async with running(service) as runner:
        request = asyncio.ensure_future(Exchange("/ok", on_send=cancel).run(service))
        await asyncio.wait((request,))
        assert request.cancelled()
        assert runner._capacity.reserved == 0
    assert log == ["handler", "commit"]


async def test_tasks_run_when_the_handler_returns_an_error_response(service: FastAPI) -> None:
    async with running(service), client_of(service) as client:
        assert (await client.get("/returns-error")).status_code == 400
    assert log == ["task of the error response"]


@pytest.mark.usefixtures("problems")
async def test_a_stopped_runner_gives_a_503(service: FastAPI) -> None:
    async with running(service), client_of(service) as client:
        assert (await client.get("/ok")).status_code == 200
    async with client_of(service) as client:
        assert (await client.get("/ok")).status_code == 503


async def test_nothing_runs_when_the_client_leaves_while_it_sends(service: FastAPI) -> None:
    chunk = {"type": "http.request", "body": b"first half", "more_body": True}
    async with running(service) as runner:
        with pytest.raises(ClientDisconnect):
            await Exchange("/body", "POST", messages=[chunk]).run(service)
        assert runner._capacity.reserved == 0
    assert log == ["first half"]


async def test_nothing_runs_when_the_client_leaves_while_it_receives(service: FastAPI) -> None:
    def hang_up(message: dict[str, Any]) -> None:
        if message.get("body") == b"2":
            raise OSError

    async with running(service) as runner:
        with pytest.raises(ClientDisconnect):
            await Exchange("/stream", on_send=hang_up).run(service)
        assert runner._capacity.reserved == 0
    assert log == []


async def test_a_streaming_response_can_add_tasks(service: FastAPI) -> None:
    async with running(service), client_of(service) as client:
        assert (await client.get("/stream")).text == "12"
    assert log == ["task of the stream"]


async def test_adding_a_task_after_the_request_is_refused(service: FastAPI) -> None:
    async with running(service) as runner, client_of(service) as client:
        await client.get("/too-late")
        tasks: RequestTasks = service.state.tasks
        with pytest.raises(RuntimeError, match="the request has ended"):
            tasks.add_task(log.append, "lost")
        assert runner._capacity.reserved == 0


async def test_concurrent_requests_run_their_tasks_and_leak_no_capacity(
    service: FastAPI, recorder: Recorder
) -> None:
    paths = ["/ok", "/sync", "/raises?error=bug", "/commit?commit=fails", "/raises?error=http"]
    async with running(service, recorder) as runner, client_of(service) as client:
        await asyncio.gather(*(client.get(path) for path in paths * 10))
        await runner.join(5)
        assert runner._capacity.reserved == 0
    assert recorder.hooks.count("succeeded") == 10 * (2 + 6)
    assert (recorder.waiting, recorder.running) == (0, 0)


def _socket(*texts: str) -> Exchange:
    messages: list[dict[str, Any]] = [{"type": "websocket.connect"}]
    messages += [{"type": "websocket.receive", "text": text} for text in texts]
    return Exchange("/socket", kind="websocket", messages=messages)


async def test_tasks_of_a_websocket_run_when_it_has_closed(service: FastAPI) -> None:
    async with running(service):
        await _socket("bye").run(service)
    assert log == ["task of the socket"]


@pytest.mark.parametrize(("texts", "error"), [(("raise",), ValueError), ((), WebSocketDisconnect)])
async def test_nothing_runs_when_a_websocket_handler_raises(
    service: FastAPI, texts: tuple[str, ...], error: type[Exception]
) -> None:
    """A handler whose tasks should still run has to catch WebSocketDisconnect."""
    async with running(service) as runner:
        with pytest.raises(error):
            await _socket(*texts).run(service)
        assert runner._capacity.reserved == 0
    assert log == []


async def test_tasks_and_background_tasks_work_in_one_request() -> None:
    log.clear()
    app = FastAPI()

    @app.get("/")
    async def both(tasks: Tasks, background: BackgroundTasks) -> None:
        background.add_task(log.append, "theirs")
        tasks.add_task(log.append, "ours")

    async with running(app), client_of(app) as client:
        assert (await client.get("/")).status_code == 200
    assert log == ["theirs", "ours"]


async def test_the_tasks_parameter_is_not_in_the_api_description(service: FastAPI) -> None:
    operation = service.openapi()["paths"]["/sync"]["get"]
    assert "parameters" not in operation
