"""Sessions of requests and tasks: cases beyond the service's own tests."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from sqlalchemy.exc import InvalidRequestError

from app.db import SessionDep, task_session
from app.tasks import TaskRunner, Tasks, task
from tests.db.conftest import INCREMENT, READ, Counter
from tests.server import PROJECT, PythonProcess

router = APIRouter()
note_runs: list[int] = []


@task
async def note() -> None:
    note_runs.append(1)


@task
async def use_a_closed_session(*, read: bool) -> None:
    async with task_session() as session:
        await session.execute(READ if read else INCREMENT)
    with pytest.raises(InvalidRequestError, match="closed"):
        await session.execute(INCREMENT)


async def fail_afterwards() -> AsyncIterator[None]:
    yield
    raise HTTPException(409, "the dependency changed its mind")


@router.post("/fail-afterwards")
async def fail_in_a_dependency(
    session: SessionDep,
    tasks: Tasks,
    _: Annotated[None, Depends(fail_afterwards, scope="function")],
) -> None:
    tasks.add_task(note)
    await session.execute(INCREMENT)


@pytest.fixture
def settings_env(settings_env: pytest.MonkeyPatch, counter: Counter) -> pytest.MonkeyPatch:
    settings_env.setenv("DATABASE_URL", counter.url)
    settings_env.setenv("DATABASE_POOL_SIZE", "1")
    settings_env.setenv("DATABASE_TASK_POOL_SIZE", "1")
    return settings_env


@pytest.fixture
async def app(app: FastAPI) -> FastAPI:
    note_runs.clear()
    app.include_router(router)
    return app


async def test_dependency_that_fails_after_the_endpoint_leaves_nothing(
    client: httpx2.AsyncClient, runner: TaskRunner, counter: Counter
) -> None:
    response = await client.post("/fail-afterwards")
    await runner.join(5)

    assert response.status_code == 409
    assert counter.value == 0
    assert note_runs == []


async def test_session_used_after_its_block_raises_and_holds_no_lock(
    app: FastAPI, runner: TaskRunner, counter: Counter
) -> None:
    for read in (True, False):
        runner.submit(use_a_closed_session, read=read)
        await runner.join(5)
    for read_only in (True, False):
        async with app.state.database.session(read_only=read_only) as session:
            await session.execute(READ)
        with pytest.raises(InvalidRequestError, match="closed"):
            await session.execute(READ)

    assert runner.snapshot().failed == 0
    counter.run(INCREMENT.text)  # bypasses the service, so it proves that no lock is held
    assert counter.value == 2


SCRIPT = """
import asyncio
from sqlalchemy.util import await_, greenlet_spawn

async def main():
    await greenlet_spawn(lambda: await_(asyncio.to_thread(int)))
    return "the line after it"

asyncio.run(main())
"""


def test_coverage_counts_lines_after_an_await(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    settings = f"--rcfile={PROJECT / 'pyproject.toml'}"

    for command in (["run", "--source=.", "script.py"], ["report", "--fail-under=100"]):
        process = PythonProcess(tmp_path, "coverage", command[0], settings, *command[1:])
        assert process.wait_for_exit() == 0, process.output
