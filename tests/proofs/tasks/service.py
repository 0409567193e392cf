"""An application whose endpoints add tasks in every possible way."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

from app.tasks import Priority, Retry, Tasks, task

log: list[str] = []
"""What requests and tasks did, in order; `create_service` clears it."""
router = APIRouter()


class CommitError(Exception):
    """Stands for a commit that the database refuses."""


@task
async def note(text: str) -> None:
    log.append(text)


def sync_note(text: str) -> None:
    log.append(text)


async def session(commit: str = "works") -> AsyncIterator[None]:
    yield
    if commit == "fails":
        raise CommitError
    log.append("commit")


def audit(tasks: Tasks) -> None:
    tasks.add_task(note, "task of the dependency")


Session = Annotated[None, Depends(session, scope="function")]
Audited = Depends(audit)


@router.get("/ok", dependencies=[Audited])
async def ok(tasks: Tasks, _: Session) -> dict[str, str]:
    task_id = tasks.add_task(note, "task of the handler", priority=Priority.HIGH)
    log.append("handler")
    return {"task_id": task_id}


@router.get("/sync", dependencies=[Audited])
def sync(tasks: Tasks) -> list[str]:
    return [tasks.add_task(sync_note, str(number)) for number in range(5)]


@router.get("/raises", dependencies=[Audited])
async def raises(tasks: Tasks, error: str) -> None:
    tasks.add_task(note, "never")
    raise ValueError if error == "bug" else HTTPException(409)


@router.get("/commit", dependencies=[Audited])
async def commit_fails(tasks: Tasks, _: Session) -> None:
    tasks.add_task(note, "never")


@router.get("/returns-error")
async def returns_error(tasks: Tasks) -> Response:
    tasks.add_task(note, "task of the error response")
    return JSONResponse({}, 400)


@router.get("/options")
async def options(tasks: Tasks) -> None:
    options = tasks.options(priority=0, timeout=9, delay=0.001, retry=Retry(attempts=7))
    options.add_task(note, "with options")


@router.get("/bad-priority")
async def bad_priority(tasks: Tasks) -> None:
    tasks.add_task(note, "never", priority=10)


@router.post("/body")
async def body(tasks: Tasks, request: Request) -> None:
    tasks.add_task(note, "after the body")
    async for chunk in request.stream():
        log.append(chunk.decode())  # noqa: PERF401 - one at a time, until the client leaves


@router.get("/stream")
async def stream(tasks: Tasks) -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"1"
        tasks.add_task(note, "task of the stream")
        yield b"2"

    return StreamingResponse(chunks())


@router.get("/too-late")
async def too_late(tasks: Tasks, request: Request) -> None:
    request.app.state.tasks = tasks


@router.websocket("/socket")
async def socket(websocket: WebSocket, tasks: Tasks) -> None:
    await websocket.accept()
    tasks.add_task(note, "task of the socket")
    if await websocket.receive_text() == "raise":
        raise ValueError
    await websocket.close()


def create_service() -> FastAPI:
    """Make the application; `asgi.running` gives it the runner that it needs."""
    service = FastAPI()
    service.include_router(router)
    log.clear()
    return service
