"""The tasks over HTTP: what runs and waits, what became of one, retry and cancel."""

from app.feature import Feature
from app.settings import Settings

from .history import History
from .router import make_router


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    history = History()
    return Feature(name="tasks", router=make_router(history), observers=[history])
