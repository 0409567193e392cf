"""The service with routes and tasks that make trouble, and a clock that can be advanced."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

clock_offset = 0.0


def with_offset(clock: Callable[[], float]) -> float:
    return clock() + clock_offset


# Replaced before the service is imported, which measures waits and durations with them.
time.monotonic = partial(with_offset, time.monotonic)
time.perf_counter = partial(with_offset, time.perf_counter)

from fastapi import APIRouter, HTTPException, Request  # noqa: E402 - after the clocks

from app.db import SessionDep  # noqa: E402 - after the clocks
from app.feature import Feature, load_features  # noqa: E402 - after the clocks
from app.features.metrics import tasks  # noqa: E402 - after the clocks
from app.service import create_app  # noqa: E402 - after the clocks
from app.settings import Settings  # noqa: E402 - after the clocks
from app.tasks import Priority, QueueFull, Retry, Tasks, current_runner, task  # noqa: E402 - after the clocks

tasks.INTERVAL = 0.1
router = APIRouter()
noted = asyncio.Event()


@task(name="note")
async def note() -> None:
    noted.set()


@task(name="delay")
async def delay() -> None:
    """Make a task of the highest priority wait for more than a minute."""
    current_runner().submit(note, priority=Priority.URGENT)
    advance_clock(61)


@task(name="flaky", retry=Retry(attempts=2, delay=0))
async def flaky() -> None:
    raise ConnectionError


@task(name="held", max_concurrency=1, timeout=1e6)
async def held() -> None:
    await asyncio.Event().wait()


@task(name="doomed", durable=True)
async def doomed() -> None:
    pass


def advance_clock(seconds: float) -> None:
    global clock_offset  # noqa: PLW0603 - there is one clock
    clock_offset += seconds


@router.get("/fine")
async def fine(request: Request) -> None:
    request.app.state.runner.submit(note)


@router.get("/slow")
async def slow() -> None:
    advance_clock(2)


@router.get("/bug")
async def bug() -> None:
    raise HTTPException(500)  # any other exception would also close the connection


@router.get("/wait")
async def wait(request: Request) -> None:
    noted.clear()
    request.app.state.runner.submit(delay)
    await noted.wait()


@router.get("/fail")
async def fail(tasks: Tasks) -> None:
    tasks.add_task(flaky)


@router.get("/hold/{count}")
async def hold(request: Request, count: int) -> int:
    for number in range(count):
        try:
            request.app.state.runner.submit(held)
        except QueueFull:
            return number
    return count


@router.get("/doom")
async def doom(tasks: Tasks, _: SessionDep) -> str:
    return tasks.options(delay=3600).add_task(doomed)


settings = Settings()
feature = Feature(name="trouble", router=router, tasks=[note, delay, flaky, held, doomed])
app = create_app(settings, [*load_features(settings), feature])
