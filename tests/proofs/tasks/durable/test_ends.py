"""Whatever a run does to itself or to its process, everything that it holds is released."""

import asyncio
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.tasks import TaskState, task
from tests.server import ServerProcess

from .world import World


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise SystemExit


@task(durable=True)
async def cancels_itself_and_returns() -> None:
    this = asyncio.current_task()
    assert this is not None
    this.cancel()


@task(durable=True)
async def cancels_itself() -> None:
    await cancels_itself_and_returns()
    await asyncio.Event().wait()


@task(durable=True)
async def raises_what_cannot_be_printed() -> None:
    raise UnprintableError


@task(durable=True)
async def exits() -> None:
    sys.exit("a task does not end the service")


@pytest.mark.parametrize(
    ("func", "state"),
    [
        (cancels_itself_and_returns, TaskState.SUCCEEDED),
        (cancels_itself, TaskState.FAILED),
        (raises_what_cannot_be_printed, TaskState.FAILED),
        (exits, TaskState.FAILED),
    ],
)
async def test_an_unusual_end_is_recorded_once_and_releases_everything(
    world: World, func: object, state: str
) -> None:
    async with world.process(
        cancels_itself_and_returns, cancels_itself, raises_what_cannot_be_printed, exits
    ) as process:
        task_id = await process.submit(func)
        await process.assert_everything_is_released()

        assert (await process.record(task_id)).state == state
        assert (await process.record(task_id)).attempts == 1


SERVICE = """
import asyncio
from app.db import SessionDep
from app.feature import Feature
from app.service import create_app
from app.tasks import Tasks, task
from fastapi import APIRouter

router = APIRouter()

@task(durable=True)
async def waits() -> None:
    print("the task runs", flush=True)
    await asyncio.Event().wait()

@task(durable=True)
async def ends_the_process() -> None:
    print("the task runs", flush=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(leave())

async def leave() -> None:
    raise SystemExit

@router.post("/waits")
async def add_waiting(tasks: Tasks, session: SessionDep) -> None:
    tasks.add_task(waits)

@router.post("/ends")
async def add_ending(tasks: Tasks, session: SessionDep) -> None:
    tasks.add_task(ends_the_process)

@router.get("/slow")
async def slow() -> None:
    print("the request waits", flush=True)
    await asyncio.Event().wait()

app = create_app(features=[
    Feature(name="lab", router=router, tasks=[waits, ends_the_process], public=True)
])
"""


@pytest.mark.parametrize("name", ["waits", "ends"])
def test_a_process_that_is_exiting_records_no_failure(
    tmp_path: Path, database_url: str, name: str
) -> None:
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    settings = {"DATABASE_URL": database_url, "TASKS_DRAIN_TIMEOUT": "0"}
    with ServerProcess(tmp_path, "service:app", **settings) as server, ExitStack() as stack:
        server.post(f"/{name}")
        server.wait_for_line("the task runs")
        if name == "waits":  # Ctrl-C twice while a request is in flight
            address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
            connection = stack.enter_context(socket.create_connection(address))
            connection.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server.wait_for_line("the request waits")
            server.interrupt()
            server.wait_for_line("Waiting for connections to close")
            server.interrupt()
        server.wait_for_exit()

    (state,) = World(database_url).states
    assert state in {"queued", "running"}
