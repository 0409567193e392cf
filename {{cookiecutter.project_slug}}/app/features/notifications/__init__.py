"""EXAMPLE: the small cases of the task API, after FastAPI's own tutorial on background tasks."""

from app.feature import Feature
from app.settings import Settings

from .router import router
from .tasks import AuditLog, write_log


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    return Feature(name="notifications", router=router, tasks=[write_log, AuditLog.record])
