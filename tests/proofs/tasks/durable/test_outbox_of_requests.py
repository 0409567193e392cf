"""Durable tasks of requests: committed before the answer or not at all."""

from collections.abc import AsyncIterator
from typing import Annotated

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import Message, Scope

from app.db import ReadSessionDep, SessionDep
from app.db.database import get_session
from app.feature import Feature, load_features
from app.service import create_app
from app.settings import Settings
from app.tasks import TaskRunner, Tasks, TaskState, task
from tests.tasks.watcher import Watcher

ran: list[str] = []


@task(durable=True)
async def work(label: str) -> None:
    ran.append(label)


@task
async def plain(label: str) -> None:
    ran.append(label)


async def add_too_early(tasks: Tasks) -> None:
    tasks.add_task(work, "never")


async def add_in_a_dependency(session: SessionDep, tasks: Tasks) -> None:  # noqa: ARG001 - FastAPI opens it
    tasks.add_task(work, "dependency")


async def fail_afterwards() -> AsyncIterator[None]:
    yield
    raise HTTPException(409, "the dependency changed its mind")


LongSession = Annotated[AsyncSession, Depends(get_session, scope="request")]
"""A session that commits after the response, which is FastAPI's default."""

router = APIRouter()


@router.post("/async")
async def in_async(session: SessionDep, tasks: Tasks) -> str:  # noqa: ARG001 - FastAPI opens it
    return tasks.add_task(work, "async")


@router.post("/sync")
def in_sync(session: SessionDep, tasks: Tasks) -> str:  # noqa: ARG001 - FastAPI opens it
    return tasks.add_task(work, "sync")


@router.post("/dependency", dependencies=[Depends(add_in_a_dependency)])
async def in_dependency(session: SessionDep, *, fail: bool = False) -> None:
    await session.execute(text("SELECT 1"))
    if fail:
        raise HTTPException(418)


@router.post("/too-early", dependencies=[Depends(add_too_early)])
async def too_early(session: SessionDep) -> None:
    await session.execute(text("SELECT 1"))


@router.post("/before")
async def session_first(session: LongSession, tasks: Tasks) -> str:  # noqa: ARG001 - FastAPI opens it
    return tasks.add_task(work, "session first")


@router.post("/after")
async def tasks_first(tasks: Tasks, session: LongSession) -> str:  # noqa: ARG001 - FastAPI opens it
    return tasks.add_task(work, "tasks first")


@router.post("/runner")
async def by_runner(session: SessionDep, tasks: Tasks) -> str:  # noqa: ARG001 - FastAPI opens it
    return tasks._runner.submit(work, "runner")


@router.post("/two")
async def two_sessions(session: SessionDep, read: ReadSessionDep, tasks: Tasks) -> None:  # noqa: ARG001 - FastAPI opens it
    tasks.add_task(work, "two")
    await session.rollback()


@router.post("/none")
async def no_session(tasks: Tasks) -> None:
    tasks.add_task(work, "never")


@router.post("/fail/{how}")
async def fail(how: str, session: SessionDep, tasks: Tasks) -> None:
    tasks.add_task(work, "never")
    if how == "http":
        raise HTTPException(418)
    if how == "bug":
        raise RuntimeError(how)
    await session.execute(text("CREATE TABLE p (id INTEGER PRIMARY KEY)"))
    await session.execute(text("CREATE TABLE c (id REFERENCES p DEFERRABLE INITIALLY DEFERRED)"))
    await session.execute(text("INSERT INTO c VALUES (7)"))


@router.post("/fail-afterwards", dependencies=[Depends(fail_afterwards, scope="function")])
async def fail_in_a_dependency(session: SessionDep, tasks: Tasks) -> None:  # noqa: ARG001 - FastAPI opens it
    tasks.add_task(work, "committed")


@router.post("/both")
async def both(session: SessionDep, tasks: Tasks) -> None:  # noqa: ARG001 - FastAPI opens it
    tasks.add_task(plain, "plain")
    tasks.add_task(work, "durable")


@pytest.fixture
def watcher() -> Watcher:
    ran.clear()
    return Watcher()


@pytest.fixture
async def app(
    settings_env: pytest.MonkeyPatch, request: pytest.FixtureRequest, watcher: Watcher
) -> AsyncIterator[FastAPI]:
    settings_env.setenv("TASKS_QUEUE_SIZE", str(getattr(request, "param", 1000)))
    feature = Feature(name="shop", router=router, tasks=[work], observers=[watcher])
    service = create_app(features=[*load_features(Settings()), feature])
    async with service.router.lifespan_context(service):
        yield service
        await service.state.runner.join(5)
        assert service.state.runner._capacity.reserved == 0
        assert service.state.runner._durable.recorder.held == {}


@pytest.mark.parametrize("path", ["async", "sync", "before", "after", "runner"])
async def test_the_task_runs_after_the_request(
    client: httpx2.AsyncClient, runner: TaskRunner, watcher: Watcher, path: str
) -> None:
    response = await client.post(f"/{path}")

    assert response.status_code == 200
    assert await watcher.until("succeeded") == [response.json()]
    record = await runner.store.get(response.json())
    assert record is not None
    assert record.state is TaskState.SUCCEEDED


async def test_a_task_of_a_dependency_joins_the_transaction_of_its_endpoint(
    client: httpx2.AsyncClient, runner: TaskRunner, watcher: Watcher
) -> None:
    assert (await client.post("/dependency?fail=true")).status_code == 418
    assert await runner.store.counts() == {}
    assert (await client.post("/dependency")).status_code == 200
    await watcher.until("succeeded")
    assert ran == ["dependency"]


async def test_a_dependency_resolved_before_the_session_cannot_add_tasks(
    client: httpx2.AsyncClient,
) -> None:
    assert (await client.post("/too-early")).status_code == 500
    assert ran == []


@pytest.mark.parametrize(("how", "status"), [("http", 418), ("bug", 500), ("commit", 500)])
async def test_a_request_that_fails_leaves_no_row(
    client: httpx2.AsyncClient, runner: TaskRunner, how: str, status: int
) -> None:
    assert (await client.post(f"/fail/{how}")).status_code == status
    assert await runner.store.counts() == {}
    assert runner._capacity.reserved == 0


async def test_a_read_only_session_does_not_commit_the_row(
    client: httpx2.AsyncClient, runner: TaskRunner
) -> None:
    assert (await client.post("/two")).status_code == 200
    assert await runner.store.counts() == {}


async def test_adding_a_durable_task_without_a_session_is_an_error(
    client: httpx2.AsyncClient, runner: TaskRunner
) -> None:
    assert (await client.post("/none")).status_code == 500
    assert await runner.store.counts() == {}


async def test_a_committed_task_runs_although_the_request_fails_later(
    client: httpx2.AsyncClient, watcher: Watcher
) -> None:
    assert (await client.post("/fail-afterwards")).status_code == 409
    await watcher.until("succeeded")
    assert ran == ["committed"]


async def test_a_committed_task_runs_if_the_client_hangs_up(app: FastAPI, watcher: Watcher) -> None:
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/async",
        "query_string": b"",
        "headers": [(b"x-api-key", b"test-key")],
        "app": app,
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Message) -> None:
        raise OSError("the client has gone")

    with pytest.raises(OSError, match="gone"):
        await app(scope, receive, send)
    await watcher.until("succeeded")
    assert ran == ["async"]


async def test_in_memory_and_durable_tasks_of_one_request_both_run(
    client: httpx2.AsyncClient, watcher: Watcher
) -> None:
    await client.post("/both")
    await watcher.until("succeeded", 2)
    assert sorted(ran) == ["durable", "plain"]


@pytest.mark.parametrize("app", [1], indirect=True)
async def test_a_full_queue_gives_a_503_and_no_row(
    client: httpx2.AsyncClient, runner: TaskRunner, watcher: Watcher
) -> None:
    assert runner._capacity.reserve()
    response = await client.post("/async")

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert await runner.store.counts() == {}
    assert len(watcher.ids("rejected")) == 1
    runner._capacity.release()
    assert (await client.post("/async")).status_code == 200
