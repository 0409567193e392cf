"""`/health/live` tells whether to restart the process, `/health/ready` whether to send requests."""

from fastapi import APIRouter, HTTPException, Request

from app.feature import Feature
from app.settings import Settings

router = APIRouter(prefix="/health", tags=["health"])
_OK = {"status": "ok"}


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    polled = ["/health/live", "/health/ready"]
    return Feature(name="health", router=router, public=True, polled=polled)


@router.get("/live", summary="Is the process alive?")
async def live() -> dict[str, str]:
    """Answer while the event loop runs. The database is not checked: a restart would not help."""
    return _OK


@router.get("/ready", summary="Can it serve requests?")
async def ready(request: Request) -> dict[str, str]:
    """Answer 503 while the service is stopping, or while its database cannot be used."""
    state = request.app.state
    if state.shutdown.announced or not state.runner.accepting:
        msg = "the service is shutting down"
        raise HTTPException(503, msg)
    if cause := await state.readiness.cause(state.database.check):
        raise HTTPException(503, cause)
    return _OK
