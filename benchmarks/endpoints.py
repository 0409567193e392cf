"""The service with endpoints that add tasks: ours, and Starlette's for comparison."""

import asyncio
import time

from app.main import create_app
from app.tasks import Tasks
from fastapi import APIRouter, BackgroundTasks, Request

SHORT = 0.05
BLOCKING = 1.0
LONG = 5.0

router = APIRouter(prefix="/benchmark")


async def sleep(seconds: float) -> None:
    """Wait as for a network."""
    await asyncio.sleep(seconds)


def block(seconds: float) -> None:
    """Wait as a library does that knows nothing of asyncio."""
    time.sleep(seconds)


@router.get("/sync")
def sync() -> str:
    """Answer from one of FastAPI's threads."""
    return "ok"


@router.get("/none")
async def none() -> str:
    """Add no task."""
    return "ok"


@router.get("/idle")
async def idle(request: Request) -> str:
    """Wait until all short tasks are over, Starlette's too."""
    await request.app.state.runner.join()
    await asyncio.sleep(SHORT)
    return "ok"


@router.get("/ours/short")
async def ours_short(tasks: Tasks) -> str:
    """Add a short task."""
    tasks.add_task(sleep, SHORT)
    return "ok"


@router.get("/ours/long")
async def ours_long(tasks: Tasks) -> str:
    """Add a task that takes too long for the load."""
    tasks.add_task(sleep, LONG)
    return "ok"


@router.get("/ours/blocking")
async def ours_blocking(tasks: Tasks) -> str:
    """Add a task that blocks its thread."""
    tasks.add_task(block, BLOCKING)
    return "ok"


@router.get("/starlette/short")
async def starlette_short(tasks: BackgroundTasks) -> str:
    """Add a short task."""
    tasks.add_task(sleep, SHORT)
    return "ok"


@router.get("/starlette/long")
async def starlette_long(tasks: BackgroundTasks) -> str:
    """Add a task that takes too long for the load."""
    tasks.add_task(sleep, LONG)
    return "ok"


@router.get("/starlette/blocking")
async def starlette_blocking(tasks: BackgroundTasks) -> str:
    """Add a task that blocks its thread."""
    tasks.add_task(block, BLOCKING)
    return "ok"


app = create_app()
app.include_router(router)
