"""Health: whether the process is alive, and whether it should get requests."""

from app.feature import Feature
from app.settings import Settings

from .router import router


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    polled = ["/health/live", "/health/ready"]
    return Feature(name="health", router=router, public=True, polled=polled)
