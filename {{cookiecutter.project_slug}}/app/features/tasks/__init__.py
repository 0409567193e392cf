"""The tasks over HTTP: what runs and waits, what became of one, retry and cancel."""

from app.feature import Feature
from app.settings import Settings

from .router import router


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    return Feature(name="tasks", router=router)
