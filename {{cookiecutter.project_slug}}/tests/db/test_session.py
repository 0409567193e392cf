"""Sessions of requests and tasks: who commits, when, and what others see."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from app.db import ReadSessionDep, SessionDep, current_database, task_session
from app.tasks import TaskRunner, Tasks, task
from tests.conftest import TEST, serve

from .conftest import INCREMENT, READ, TIMEOUT, Counter

router = APIRouter()
seen: list[int] = []


@task
async def read_in_a_task() -> None:
    """Record the value that a task sees; the only connection for requests must be free."""
    async with task_session() as session:
        value = await session.scalar(READ)
    async with current_database.get().session(read_only=True) as session:
        assert await session.scalar(READ) == value
    seen.append(value)


@task
async def write_in_a_task(*, fail: bool) -> None:
    async with task_session() as session:
        await session.execute(INCREMENT)
        if fail:
            raise RuntimeError


@router.post("/increment")
async def increment(session: SessionDep, tasks: Tasks) -> int:
    tasks.add_task(read_in_a_task)
    await session.execute(INCREMENT)
    return int(await session.scalar(READ))


@router.get("/value")
async def read_value(session: ReadSessionDep) -> int:
    return int(await session.scalar(READ))


@router.get("/stream")
async def stream_with_a_closed_session(session: SessionDep) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        with pytest.raises(InvalidRequestError, match="closed"):
            await session.execute(READ)
        yield "it raised"

    return StreamingResponse(lines())


@router.post("/fail/{status}")
async def fail(status: int, session: SessionDep, tasks: Tasks) -> None:
    tasks.add_task(read_in_a_task)
    await session.execute(INCREMENT)
    raise HTTPException(status) if status < 500 else RuntimeError("a bug")


@router.post("/fail-to-commit")
async def fail_to_commit(session: SessionDep, tasks: Tasks) -> str:
    tasks.add_task(read_in_a_task)
    await session.execute(text("INSERT INTO test_db_child VALUES (1)"))  # no such parent
    return "stored"


@pytest.fixture(scope="module")
def tables(shared_database_url: str) -> Counter:
    counter = Counter(shared_database_url)
    counter.run("CREATE TABLE test_db_parent (id INTEGER PRIMARY KEY)")
    counter.run(
        "CREATE TABLE test_db_child"
        " (id INTEGER REFERENCES test_db_parent (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    return counter


@pytest.fixture
async def counter(tables: Counter, runner: TaskRunner) -> AsyncIterator[Counter]:
    await asyncio.to_thread(tables.run, "UPDATE test_db_counter SET value = 0")
    seen.clear()
    yield tables
    await runner.join(5)


@asynccontextmanager
async def serve_counter(url: str, **variables: str) -> AsyncIterator[FastAPI]:
    sizes = {"DATABASE_POOL_SIZE": "1", "DATABASE_TASK_POOL_SIZE": "1"}
    async with serve(DATABASE_URL=url, **TEST, **sizes, **variables) as app:
        app.include_router(router)
        yield app


@pytest.fixture(scope="module")
async def app(tables: Counter) -> AsyncIterator[FastAPI]:
    async with serve_counter(tables.url) as app:
        yield app


@pytest.mark.usefixtures("counter")
async def test_a_request_has_committed_and_freed_its_connection_when_its_task_runs(
    client: httpx2.AsyncClient, runner: TaskRunner
) -> None:
    for _ in range(3):
        assert (await client.post("/increment")).status_code == 200
        await runner.join(5)

    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("path", "status"), [("/fail/418", 418), ("/fail/500", 500), ("/fail-to-commit", 500)]
)
async def test_a_failed_request_writes_nothing_and_runs_no_task(
    client: httpx2.AsyncClient, runner: TaskRunner, counter: Counter, path: str, status: int
) -> None:
    response = await client.post(path)
    await runner.join(5)

    assert response.status_code == status
    assert counter.value == 0
    assert seen == []
    assert (await client.post("/increment")).json() == 1


async def test_a_session_raises_when_used_after_the_response(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/stream")).text == "it raised"


async def test_a_read_only_request_does_not_wait_for_a_writer(
    client: httpx2.AsyncClient, counter: Counter
) -> None:
    await client.get("/value")
    async with counter.locked():
        assert (await client.get("/value")).json() == 0


async def test_a_task_commits_unless_it_fails(runner: TaskRunner, counter: Counter) -> None:
    failed = runner.snapshot().failed
    for fails in (False, True, False, True):
        runner.submit(write_in_a_task, fail=fails)
        await runner.join(5)

    assert counter.value == 2
    assert runner.snapshot().failed == failed + 2


@pytest.mark.usefixtures("app")
async def test_a_test_can_call_a_task_directly(counter: Counter) -> None:
    await write_in_a_task(fail=False)

    assert counter.value == 1


async def test_a_task_called_without_a_service_raises_an_error_that_names_the_fixture() -> None:
    elsewhere = asyncio.create_task(write_in_a_task(fail=False), context=Context())
    with pytest.raises(RuntimeError, match="the fixture `app`"):
        await elsewhere


class TestShortTimeouts:
    """For connections and for locks."""

    @pytest.fixture
    async def app(self, tables: Counter) -> AsyncIterator[FastAPI]:
        timeouts = ("DATABASE_POOL_TIMEOUT", "DATABASE_LOCK_TIMEOUT")
        async with serve_counter(tables.url, **dict.fromkeys(timeouts, str(TIMEOUT))) as app:
            yield app

    async def test_a_locked_database_is_503(
        self, client: httpx2.AsyncClient, counter: Counter
    ) -> None:
        async with counter.locked():
            response = await client.post("/increment")

        assert response.status_code == 503
        assert response.headers["Retry-After"] == "1"
        assert (await client.post("/increment")).json() == 1

    async def test_an_exhausted_pool_is_503(self, app: FastAPI, client: httpx2.AsyncClient) -> None:
        async with app.state.database.session(read_only=True) as session:
            await session.execute(READ)
            response = await client.get("/value")

        assert response.status_code == 503
        assert (await client.get("/value")).status_code == 200
