"""`/health/live` for whoever restarts the process, `/health/ready` for who sends it requests."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from app.errors import ServiceUnavailable

router = APIRouter(prefix="/health", tags=["health"])

_DATABASE_TIMEOUT = 2.0
"""Seconds; probes give up soon after."""


class Health(BaseModel):
    """The answer of a healthy service."""

    status: Literal["ok"] = "ok"


@router.get("/live", summary="Is the process alive?")
async def live() -> Health:
    """Answer as long as the event loop runs. It needs nothing else: a restart would not help."""
    return Health()


@router.get("/ready", summary="Should it get requests?")
async def ready(request: Request) -> Health:
    """Answer 503 while the service is stopping or does not reach its database."""
    state = request.app.state
    if state.shutdown.announced or not state.runner.accepting:
        msg = "the service is shutting down"
        raise ServiceUnavailable(msg)
    try:
        async with asyncio.timeout(_DATABASE_TIMEOUT):
            await state.database.ping()
    except (SQLAlchemyError, TimeoutError) as error:
        msg = "the database does not answer"
        raise ServiceUnavailable(msg) from error
    return Health()
