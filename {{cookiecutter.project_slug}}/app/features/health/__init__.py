"""Health: whether the process is alive, and whether it should get requests."""

from app.feature import Feature
from app.settings import Settings

from .router import router


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    return Feature(name="health", router=router, public=True)
