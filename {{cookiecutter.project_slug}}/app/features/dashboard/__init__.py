"""The task page: what the background tasks do, at `/dashboard`.

- `activity.py` remembers the last ten minutes
- `view.py` puts together what the templates show, `chart.py` draws it, `text.py` words it
- `router.py` has the routes; the script of the page asks for it again every two seconds
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.feature import Feature
from app.settings import Settings

from .activity import RecentActivity
from .router import make_router


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    activity = RecentActivity()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sampling = asyncio.create_task(activity.sample(app.state.runner))
        try:
            yield
        finally:
            sampling.cancel()

    return Feature(
        name="dashboard",
        router=make_router(activity),
        links={"/dashboard": "Tasks"},
        polled=["/dashboard"],
        observers=[activity],
        lifespan=lifespan,
    )
