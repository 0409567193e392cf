"""Puts the feature together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from app.feature import Feature
from app.pages import add_link
from app.settings import read

from .leftovers import Leftovers
from .pages import PREFIX
from .problem_pages import ProblemPages
from .router import router
from .settings import ReportSettings
from .tasks import process_report


def make_feature() -> Feature:
    """Make the feature. Raises ConfigurationError for a bad setting, which stops the start."""
    read(ReportSettings)
    leftovers = Leftovers()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        add_link(app, "Reports", PREFIX)
        async with leftovers.seen_to(app.state.runner):
            yield

    return Feature(
        name="reports",
        router=router,
        tasks=[process_report],
        middleware=[Middleware(ProblemPages)],
        observers=[leftovers],
        lifespan=lifespan,
    )
