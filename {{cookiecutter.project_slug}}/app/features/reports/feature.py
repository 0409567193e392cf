"""Puts the feature together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from starlette.middleware import Middleware

from app.feature import Feature
from app.pages import add_link
from app.settings import ConfigurationError, Settings, is_loopback, read

from .leftovers import Leftovers
from .pages import PREFIX
from .problem_pages import ProblemPages
from .router import make_router
from .settings import ReportSettings
from .tasks import process_report

logger = structlog.get_logger(__name__)


def make_feature(settings: Settings) -> Feature:
    """Make the feature. Raises ConfigurationError for a bad setting, which stops the start."""
    report_settings = read(ReportSettings)
    leftovers = Leftovers()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _check_quota(report_settings, settings)
        add_link(app, "Reports", PREFIX)
        if settings.in_production:
            _check_public_url(report_settings)
        async with leftovers.seen_to(app.state.runner):
            yield

    return Feature(
        name="reports",
        router=make_router(settings),
        tasks=[process_report],
        middleware=[Middleware(ProblemPages)],
        observers=[leftovers],
        lifespan=lifespan,
    )


def _check_quota(report_settings: ReportSettings, settings: Settings) -> None:
    if report_settings.max_stored_bytes < settings.max_upload_bytes:
        msg = "REPORTS_MAX_STORED_BYTES: it must be at least MAX_UPLOAD_BYTES"
        raise ConfigurationError(f"invalid settings:\n  {msg}")


def _check_public_url(report_settings: ReportSettings) -> None:
    host = report_settings.public_url.host or ""
    if is_loopback(host.strip("[]")):
        logger.warning("REPORTS_PUBLIC_URL is this machine: no link in a mail works")
