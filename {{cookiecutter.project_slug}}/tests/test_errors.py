"""Errors: whatever goes wrong, the answer is a problem document."""

import json
import logging
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, UploadFile
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.types import Message, Receive, Scope, Send

from app.errors import (
    AppError,
    BadRequest,
    BodyLimitProblem,
    Conflict,
    Forbidden,
    NotFound,
    ServiceUnavailable,
    Unauthorized,
    Unprocessable,
)
from app.tasks import QueueFull, RunnerClosed

from .databases.server import DatabaseServer
from .server import ServerProcess

LIMIT = 1000
"""MAX_UPLOAD_BYTES in these tests."""

router = APIRouter()


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    number: float = 0.0


@router.post("/items")
async def make_item(item: Item) -> int:
    return len(item.name)


@router.get("/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(iter(["a", "b"]))


@router.post("/numbers")
async def add_numbers(numbers: dict[str, int]) -> int:
    return sum(numbers.values())


@router.get("/items/{number}")
async def get_item(number: int) -> int:
    return number


@router.delete("/items/{number}")
async def delete_item(number: int) -> int:
    return number


@router.post("/bytes")
async def count_bytes(request: Request) -> int:
    return len(await request.body())


@router.post("/unread")
async def leave_the_body() -> str:
    return "unread"


async def read_body(request: Request) -> bytes:
    return await request.body()


@router.post("/bytes-in-a-dependency")
async def count_bytes_elsewhere(body: Annotated[bytes, Depends(read_body)]) -> int:
    return len(body)


@router.post("/files")
async def count_file(file: UploadFile) -> int:
    return len(await file.read())


@router.post("/form")
async def count_fields(request: Request) -> int:
    async with request.form() as form:
        return len(form)


@router.get("/status/{status}")
async def raise_status(status: int) -> None:
    raise HTTPException(status, "in words", headers={"X-More": "1"})


@router.get("/errors/{name}")
async def raise_error(name: str) -> None:
    raise ERRORS[name]


@router.get("/plain-413")
async def plain_413() -> PlainTextResponse:
    return PlainTextResponse("mine", 413)


ERRORS: dict[str, Exception] = {
    "app": AppError("in words"),
    "bad-request": BadRequest("in words"),
    "unauthorized": Unauthorized("in words"),
    "forbidden": Forbidden("in words"),
    "not-found": NotFound("in words"),
    "conflict": Conflict("in words"),
    "unprocessable": Unprocessable("in words"),
    "unavailable": ServiceUnavailable("in words"),
    "queue-full": QueueFull("name-of-task", 10, retry_after=7),
    "closed": RunnerClosed("internal words"),
    "locked": OperationalError("UPDATE secret_table", {}, Exception("locked")),
    "pool": PoolTimeoutError("QueuePool limit"),
    "bug": RuntimeError("internal words"),
}


@pytest.fixture
def settings_env(settings_env: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    settings_env.setenv("MAX_UPLOAD_BYTES", str(LIMIT))
    return settings_env


@pytest.fixture
async def app(app: FastAPI) -> FastAPI:
    app.include_router(router)
    return app


def check_problem(response: httpx2.Response, status: int, title: str | None = None) -> str:
    """Check what all problems have in common; return the detail."""
    title = title or HTTPStatus(status).phrase
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == "about:blank"
    assert body["title"] == title
    assert body["status"] == status
    assert body["request_id"] == response.headers["X-Request-ID"]
    return str(body["detail"])


async def test_unknown_path(client: httpx2.AsyncClient) -> None:
    check_problem(await client.get("/nothing"), 404)


@pytest.mark.parametrize(
    ("path", "allowed"), [("/items", "POST"), ("/items/1", "GET, DELETE"), ("/stream", "GET")]
)
async def test_wrong_method_names_the_right_ones(
    client: httpx2.AsyncClient, path: str, allowed: str
) -> None:
    response = await client.put(path)

    check_problem(response, 405)
    assert response.headers["Allow"] == allowed


async def test_invalid_request_names_the_fields_and_hides_the_values(
    client: httpx2.AsyncClient,
) -> None:
    response = await client.post("/items", json={"number": "hunter2"})

    assert check_problem(response, 422) == "the request is not valid"
    assert "hunter2" not in response.text
    errors = response.json()["errors"]
    assert [error["loc"] for error in errors] == [["body", "name"], ["body", "number"]]
    assert all(set(error) == {"loc", "msg", "type"} for error in errors)


async def test_invalid_path_parameter(client: httpx2.AsyncClient) -> None:
    response = await client.get("/items/hunter2")

    check_problem(response, 422)
    assert response.json()["errors"][0]["loc"] == ["path", "number"]
    assert "hunter2" not in response.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": NaN}',
        b'{"name": "a", "number": [1e999]}',
        b'{"name": "a", "number": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"name": "a", "\\ud800": 1}',
        b"not json",
        b"",
        b"[1]",
        b"null",
        b'{"name": "a"',
        b'{"name": "\x00"}',
    ],
)
async def test_json_that_cannot_be_echoed(client: httpx2.AsyncClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}

    response = await client.post("/items", content=body, headers=headers)

    check_problem(response, 422)


async def test_an_error_under_a_key_that_cannot_be_encoded(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}

    response = await client.post("/numbers", content=b'{"\\udfff": "x"}', headers=headers)

    check_problem(response, 422)
    assert response.json()["errors"][0]["loc"][0] == "body"


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"[" * 400 + b"]" * 401, b"1" * 900])
async def test_json_that_cannot_be_parsed(client: httpx2.AsyncClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}

    response = await client.post("/items", content=body, headers=headers)

    assert response.status_code in {400, 422}
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_a_bug_is_not_told(client: httpx2.AsyncClient) -> None:
    response = await client.get("/errors/bug")

    detail = check_problem(response, 500)
    assert detail == "an unexpected error occurred; it was logged"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("app", 500),
        ("bad-request", 400),
        ("unauthorized", 401),
        ("forbidden", 403),
        ("not-found", 404),
        ("conflict", 409),
        ("unprocessable", 422),
        ("unavailable", 503),
    ],
)
async def test_application_errors(client: httpx2.AsyncClient, name: str, status: int) -> None:
    response = await client.get(f"/errors/{name}")

    assert check_problem(response, status) == "in words"
    assert ("WWW-Authenticate" in response.headers) == (status == 401)
    assert ("Retry-After" in response.headers) == (status == 503)


@pytest.mark.parametrize("name", ["closed", "locked", "pool"])
async def test_what_passes_is_503_and_says_nothing_of_the_inside(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    response = await client.get(f"/errors/{name}")

    detail = check_problem(response, 503)
    assert detail == "the service is busy or stopping"
    assert response.headers["Retry-After"] == "1"
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1


async def test_full_queue(client: httpx2.AsyncClient) -> None:
    response = await client.get("/errors/queue-full")

    assert check_problem(response, 503) == "no more work can be accepted at the moment"
    assert response.headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    ("status", "title"), [(409, "Conflict"), (499, "Error"), (599, "Error"), (999, "Error")]
)
async def test_any_error_status(client: httpx2.AsyncClient, status: int, title: str) -> None:
    response = await client.get(f"/status/{status}")

    assert check_problem(response, status, title) == "in words"
    assert response.headers["X-More"] == "1"


@pytest.mark.parametrize("status", [204, 304, 307])
async def test_a_status_that_is_no_error_is_no_problem(
    client: httpx2.AsyncClient, status: int
) -> None:
    response = await client.get(f"/status/{status}")

    assert response.status_code == status
    assert response.headers.get("Content-Type") != "application/problem+json"
    assert response.headers["X-More"] == "1"


PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'


async def in_chunks(size: int, start: bytes = b"") -> AsyncIterator[bytes]:
    yield start.ljust(100, b"x")
    for _ in range(size // 100 - 1):
        yield b"x" * 100


@pytest.mark.parametrize("path", ["/bytes", "/bytes-in-a-dependency", "/files", "/form", "/items"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit(client: httpx2.AsyncClient, path: str, chunked: bool) -> None:
    kind = "application/json" if path == "/items" else "multipart/form-data; boundary=x"

    response = await client.post(
        path,
        content=in_chunks(LIMIT + 100, PART) if chunked else PART.ljust(LIMIT + 1),
        headers={"Content-Type": kind},
    )

    check_problem(response, 413)


async def test_a_body_of_the_limit_is_fine(client: httpx2.AsyncClient) -> None:
    for content in (b"x" * LIMIT, in_chunks(LIMIT)):
        response = await client.post("/bytes", content=content)

        assert response.json() == LIMIT


async def test_a_large_body_that_nobody_reads(client: httpx2.AsyncClient) -> None:
    unknown = await client.post("/nothing", content=in_chunks(LIMIT + 100))
    announced = await client.post("/nothing", content=b"x" * (LIMIT + 1))

    check_problem(unknown, 404)
    assert str(LIMIT) in check_problem(announced, 413)


async def test_a_plain_answer_of_the_application_is_left_alone(client: httpx2.AsyncClient) -> None:
    for headers in ({}, {"Content-Length": "0"}):
        response = await client.get("/plain-413", headers=headers)

        assert response.text == "mine"


# Starlette leaves the file of such a part to the garbage collector.
@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")
async def test_truncated_multipart(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}

    for body in (PART, PART + b"1,2", PART[:20], b"", b"--x--\r\n"):
        response = await client.post("/files", content=body, headers=headers)

        assert response.status_code in {400, 422}
        assert response.headers["Content-Type"] == "application/problem+json"


async def test_a_caller_that_hangs_up_is_no_error_of_the_service(app: FastAPI) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-length", b"10")]
    scope = {"type": "http", "method": "POST", "path": "/bytes", "headers": headers}
    await app({**scope, "query_string": b"", "root_path": "", "client": None}, receive, send)

    assert sent[0]["status"] == 499


async def test_a_caller_that_hangs_up_during_the_answer(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            raise OSError("the connection is gone")

    scope = {"type": "http", "method": "GET", "path": "/stream", "headers": []}
    asgi = {"spec_version": "2.4"}  # Starlette listens for such errors of send() then
    await app({**scope, "asgi": asgi, "query_string": b"", "root_path": ""}, receive, send)

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert caplog.records == []


async def test_only_the_answer_of_the_server_is_replaced() -> None:
    """A too large body is known from its header; the application may say something else of it."""
    sent: list[Message] = []

    async def application(_: Scope, __: Receive, send: Send) -> None:
        for type_ in ("http.response.start", "http.response.body"):
            await send({"type": type_, "status": 401, "headers": []})

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"content-length", b"11")]}
    await BodyLimitProblem(application, 10)(scope, None, send)  # type: ignore[arg-type]

    assert [message["status"] for message in sent] == [401, 401]


async def test_multipart_without_a_boundary(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data"}

    response = await client.post("/files", content=b"--x", headers=headers)

    check_problem(response, 400)


class TestUnlimited:
    """With room for a form of many fields."""

    @pytest.fixture
    def settings_env(self, settings_env: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        settings_env.delenv("MAX_UPLOAD_BYTES")
        return settings_env

    @pytest.mark.parametrize("path", ["/form", "/files"])
    async def test_too_many_fields(self, client: httpx2.AsyncClient, path: str) -> None:
        part = '--x\r\nContent-Disposition: form-data; name="f{}"\r\n\r\n1\r\n'
        body = "".join(part.format(number) for number in range(1100)) + "--x--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=x"}

        response = await client.post(path, content=body.encode(), headers=headers)

        assert "1000" in check_problem(response, 400)

    async def test_deep_json(self, client: httpx2.AsyncClient) -> None:
        headers = {"Content-Type": "application/json"}

        for body in (b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b"1" * 10_000):
            response = await client.post("/items", content=body, headers=headers)

            assert response.status_code in {400, 422}
            assert response.headers["Content-Type"] == "application/problem+json"


async def test_the_documentation_of_errors(client: httpx2.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()

    for operations in schema["paths"].values():
        for operation in operations.values():
            problem = {"$ref": "#/components/schemas/Problem"}
            content = operation["responses"]["default"]["content"]
            assert content["application/problem+json"]["schema"] == problem
            assert "HTTPValidationError" not in json.dumps(operation)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, database_server: DatabaseServer
) -> Iterator[ServerProcess]:
    """Serve the routes above with real sockets."""
    folder: Path = tmp_path_factory.mktemp("server")
    lines = [
        "from app.main import create_app",
        "from tests.test_errors import router",
        "app = create_app()",
        "app.include_router(router)",
    ]
    (folder / "service.py").write_text("\n".join(lines), encoding="utf-8")
    with database_server.database(migrated=True) as url:
        variables = {"DATABASE_URL": url, "MAX_UPLOAD_BYTES": str(LIMIT)}
        with ServerProcess(folder, "service:app", **variables) as server:
            yield server


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", *headers, "", "")
    return "\r\n".join(lines).encode()


FORM = "Content-Type: multipart/form-data; boundary=x"
CHUNK = b"3e8\r\n" + b"x" * 1000 + b"\r\n"


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        ([head("/bytes", "Content-Length: 5000"), b"x" * 5000], 413),
        ([head("/bytes", "Content-Length: 5000")], 413),
        ([head("/nothing", "Content-Length: 5000"), b"x" * 5000], 413),
        ([head("/unread", "Content-Length: 5000")], 413),
        ([head("/bytes", "Transfer-Encoding: chunked"), *[CHUNK] * 5, b"0\r\n\r\n"], 413),
        ([head("/bytes", "Transfer-Encoding: chunked"), CHUNK, CHUNK], 413),
        ([head("/nothing", "Transfer-Encoding: chunked"), *[CHUNK] * 5, b"0\r\n\r\n"], 404),
        ([head("/errors/bug", method="GET")], 500),
        ([head("/items", method="PUT")], 405),
    ],
)
def test_problems_on_the_wire(server: ServerProcess, chunks: list[bytes], status: int) -> None:
    answer, _, body = server.exchange(*chunks).partition(b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/problem+json" in answer
    assert f"content-length: {len(body)}".encode() in answer
    problem = json.loads(body)
    assert problem["status"] == status
    assert f"x-request-id: {problem['request_id']}".encode() in answer


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_on_the_wire(server: ServerProcess, status: int) -> None:
    answer, _, body = server.exchange(head(f"/status/{status}", method="GET")).partition(
        b"\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert body == b""


def test_a_caller_that_hangs_up_is_survived(server: ServerProcess) -> None:
    seen = len(server.output)
    server.exchange(head("/bytes", "Content-Length: 900"), b"x" * 10, half_close=True)
    server.exchange(head("/items", "Content-Length: 900"), b"x" * 10, half_close=True)
    server.exchange(head("/form", "Content-Length: 900", FORM), PART, half_close=True)
    server.exchange(head("/bytes", "Content-Length: nonsense"))
    server.exchange(b"\x16\x03\x01 this is TLS\r\n\r\n")

    assert server.get("/health/live").status_code == 200
    server.wait_for_line("/health/live")
    assert "Traceback" not in "".join(server.output[seen:])
