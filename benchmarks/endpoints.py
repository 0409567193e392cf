"""The service with endpoints that add tasks: ours, Starlette's for comparison, or none at all.

`ENGINE` selects the endpoints. A server has those of one engine, at the same paths and positions as
the others, because a route takes longer to find the further down the list it is.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from app.service import create_app
from app.tasks import Tasks
from fastapi import APIRouter, BackgroundTasks, Request

SHORT = 0.05
BLOCKING = 1.0
LONG = 5.0

router = APIRouter(prefix="/benchmark")


async def sleep(seconds: float) -> None:
    """Wait as a task does for a network."""
    await asyncio.sleep(seconds)


def block(seconds: float) -> None:
    """Block as a library does that does not use asyncio."""
    time.sleep(seconds)


@router.get("/sync")
def sync() -> str:
    """Answer from one of FastAPI's threads."""
    return "ok"


@router.get("/idle")
async def idle(request: Request) -> str:
    """Wait until all short tasks have ended, including Starlette's."""
    await request.app.state.runner.join()
    await asyncio.sleep(SHORT)
    return "ok"


async def none() -> str:
    """Add no task."""
    return "ok"


async def ours_short(tasks: Tasks) -> str:
    """Add a short task."""
    tasks.add_task(sleep, SHORT)
    return "ok"


async def ours_long(tasks: Tasks) -> str:
    """Add a task that is too long for the load."""
    tasks.add_task(sleep, LONG)
    return "ok"


async def ours_blocking(tasks: Tasks) -> str:
    """Add a task that blocks its thread."""
    tasks.add_task(block, BLOCKING)
    return "ok"


async def starlette_short(tasks: BackgroundTasks) -> str:
    """Add a short task."""
    tasks.add_task(sleep, SHORT)
    return "ok"


async def starlette_long(tasks: BackgroundTasks) -> str:
    """Add a task that is too long for the load."""
    tasks.add_task(sleep, LONG)
    return "ok"


async def starlette_blocking(tasks: BackgroundTasks) -> str:
    """Add a task that blocks its thread."""
    tasks.add_task(block, BLOCKING)
    return "ok"


ENDPOINTS: dict[str, dict[str, Callable[..., Any]]] = {
    "none": {"/short": none},
    "ours": {"/short": ours_short, "/long": ours_long, "/blocking": ours_blocking},
    "starlette": {
        "/short": starlette_short,
        "/long": starlette_long,
        "/blocking": starlette_blocking,
    },
}
for path, endpoint in ENDPOINTS[os.environ["ENGINE"]].items():
    router.add_api_route(path, endpoint)

app = create_app()
app.include_router(router)
