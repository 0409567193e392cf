"""The task page: what the background tasks do, at `/dashboard`.

- `recorder.py` remembers the last ten minutes
- `view.py` puts together what the templates show, `chart.py` draws it, `text.py` words it
- `router.py` has the routes; the script of the page asks for it again every two seconds
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.feature import Feature
from app.pages import add_link
from app.settings import Settings

from .recorder import Recorder
from .router import make_router


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    recorder = Recorder()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        add_link(app, "Tasks", "/dashboard")
        recording = asyncio.create_task(recorder.record(app.state.runner))
        try:
            yield
        finally:
            recording.cancel()

    return Feature(
        name="dashboard",
        router=make_router(recorder),
        polled=["/dashboard"],
        observers=[recorder],
        lifespan=lifespan,
    )
