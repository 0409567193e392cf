"""Orders: say here what this feature does."""

from app.feature import Feature
from app.settings import Settings

from .router import router
from .tasks import process_order


def create_feature(_: Settings) -> Feature:
    """Create the feature."""
    return Feature(name="orders", router=router, tasks=[process_order])
