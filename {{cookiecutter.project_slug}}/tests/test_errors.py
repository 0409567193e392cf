"""Errors: whatever goes wrong, the response is a problem document."""

import errno
import json
import logging
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Request, UploadFile
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db import SessionDep
from app.errors import MAX_BODY_BYTES
from app.tasks import QueueFull, RunnerClosed

from .problems import check_problem

QUEUE_FULL = QueueFull("name-of-task", 10)
QUEUE_FULL.retry_after = 7

EXPLICIT_STATUSES = (400, 401, 403, 404, 409, 422, 429, 500, 503)
ERRORS: dict[str, Exception] = {
    **{str(status): HTTPException(status, "in words") for status in EXPLICIT_STATUSES},
    "stopping": RunnerClosed("internal words"),
    "locked": OperationalError("UPDATE secret_table", {}, Exception("locked")),
    "pool": PoolTimeoutError("QueuePool limit"),
    "queue": QUEUE_FULL,
    "disk": OSError(errno.ENOSPC, "internal words"),
    "quota": OSError(errno.EDQUOT, "internal words"),
    "file": PermissionError("internal words"),
    "bug": RuntimeError("internal words"),
}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}

router = APIRouter(prefix="/test-errors")


class Item(BaseModel):
    name: str
    number: float = 0.0


@router.post("/items")
async def make_item(item: Item) -> int:
    return len(item.name)


@router.get("/errors/{name}")
async def raise_error(name: str) -> None:
    raise ERRORS[name]


@router.get("/no-such-table")
async def read_a_missing_table(session: SessionDep) -> None:
    await session.execute(text("SELECT 1 FROM no_such_table"))


@router.post("/bytes")
async def count_bytes(request: Request) -> int:
    return len(await request.body())


@router.post("/large", max_body_size=2 * MAX_BODY_BYTES)
async def count_many_bytes(request: Request) -> int:
    return len(await request.body())


@router.post("/form")
async def count_file(file: UploadFile) -> int:
    return len(await file.read())


@pytest.fixture(scope="module")
def app(shared_app: FastAPI) -> FastAPI:
    shared_app.include_router(router)
    return shared_app


@pytest.fixture
async def client(client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    client.base_url = httpx2.URL("http://test/test-errors")
    return client


async def test_an_unknown_path_is_a_404(client: httpx2.AsyncClient) -> None:
    check_problem(await client.get("/nothing"), 404)


async def test_an_invalid_request_is_a_422_that_names_fields_and_hides_values(
    client: httpx2.AsyncClient,
) -> None:
    response = await client.post("/items", json={"number": "hunter2"})

    assert check_problem(response, 422) == "the request is not valid"
    assert "hunter2" not in response.text
    errors = response.json()["errors"]
    assert [error["loc"] for error in errors] == [["body", "name"], ["body", "number"]]
    assert all(set(error) == {"loc", "msg", "type"} for error in errors)


async def test_an_http_exception_keeps_its_status_and_detail(client: httpx2.AsyncClient) -> None:
    for status in EXPLICIT_STATUSES:
        response = await client.get(f"/errors/{status}")

        assert check_problem(response, status) == "in words"
        assert ("WWW-Authenticate" in response.headers) == (status == 401)
        assert ("Retry-After" in response.headers) == (status in {429, 503})


@pytest.mark.parametrize(
    ("name", "detail", "retry_after"),
    [
        ("stopping", "the service is busy or stopping", "1"),
        ("locked", "the service is busy or stopping", "1"),
        ("pool", "the service is busy or stopping", "1"),
        ("queue", "the task queue is full or cannot be reached", "7"),
        ("disk", "nothing can be stored just now", "1"),
        ("quota", "nothing can be stored just now", "1"),
    ],
)
async def test_a_temporary_failure_is_a_503_without_internal_details(
    client: httpx2.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    name: str,
    detail: str,
    retry_after: str,
) -> None:
    response = await client.get(f"/errors/{name}")

    assert check_problem(response, 503) == detail
    assert response.headers["Retry-After"] == retry_after
    logged = [line for line in caplog.records if line.levelno == logging.ERROR]
    assert len(logged) == (name != "queue")  # a full queue is not an error


@pytest.mark.parametrize("path", ["/errors/bug", "/errors/file", "/no-such-table"])
async def test_a_bug_is_logged_and_not_revealed(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    detail = check_problem(await client.get(path), 500)

    assert detail == "an unexpected error occurred; it was logged"
    assert "Traceback" in caplog.text


async def in_chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 128):
        yield b"x" * 128


@pytest.mark.parametrize("path", ["/bytes", "/large"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_may_have_64_kib_unless_its_route_sets_a_limit(
    client: httpx2.AsyncClient, path: str, chunked: bool
) -> None:
    limit = 2 * 64 * 1024 if path == "/large" else 64 * 1024
    small, large = [
        await client.post(path, content=in_chunks(size) if chunked else b"x" * size)
        for size in (limit, limit + 128)
    ]

    assert small.json() == limit
    assert str(limit) in check_problem(large, 413)


@pytest.mark.parametrize(("part", "limit"), [('name="f{}"', 100), ('name="f{}"; filename="a"', 10)])
async def test_form_parts_are_limited(client: httpx2.AsyncClient, part: str, limit: int) -> None:
    part = f"--x\r\nContent-Disposition: form-data; {part}\r\n\r\n1\r\n"
    body = "".join(part.format(number) for number in range(limit + 1)) + "--x--\r\n"

    response = await client.post("/form", content=body.encode(), headers=FORM)

    assert str(limit) in check_problem(response, 400)


async def test_the_api_docs_describe_errors_as_problem_documents(app: FastAPI) -> None:
    for operations in app.openapi()["paths"].values():
        for operation in operations.values():
            problem = {"$ref": "#/components/schemas/Problem"}
            content = operation["responses"]["default"]["content"]
            assert content["application/problem+json"]["schema"] == problem
            assert "HTTPValidationError" not in json.dumps(operation)
