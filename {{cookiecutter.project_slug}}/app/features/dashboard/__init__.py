"""The task page: what the background tasks do, at `/dashboard`.

- `recorder.py` remembers the last ten minutes
- `view.py` puts together what the templates show, `chart.py` draws it, `text.py` words it
- `live.py` sends open pages what has changed, `router.py` has the routes
"""

from app.feature import Feature
from app.settings import Settings

from .live import Live
from .recorder import Recorder
from .router import make_router


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    recorder = Recorder()
    live = Live(recorder)
    return Feature(
        name="dashboard",
        router=make_router(recorder, live),
        observers=[recorder],
        lifespan=live.lifespan,
    )
