"""The task page: what the background tasks do, at `/dashboard`.

- `activity.py` remembers the last ten minutes, for the charts
- `view.py` puts together what the templates show
- `router.py` has the routes; the script of the page asks for it again every two seconds
"""

from app.feature import Feature
from app.settings import Settings

from .activity import sampling
from .router import router


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    return Feature(
        name="dashboard",
        router=router,
        links={"/dashboard": "Tasks"},
        polled=["/dashboard"],
        lifespan=sampling,
    )
