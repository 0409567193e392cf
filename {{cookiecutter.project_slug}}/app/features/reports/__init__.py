"""EXAMPLE: a CSV file is uploaded, a task computes statistics, the result is stored and mailed.

- `router.py` the endpoints, `schemas.py` what goes in and out, `models.py` the table
- `uploads.py` where a file waits for its task, `tasks.py` the tasks, `mail.py` what it mails
- `analysis.py` runs DuckDB in a thread, which reads the file (`csv_file.py`) and computes
  (`statistics.py`)
- `pages.py` what browsers get, with `charts.py` and `display.py`

To remove it, delete this folder, `tests/features/reports` and its file in `migrations/versions`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from app.feature import Feature
from app.pages import add_link
from app.settings import ConfigurationError, Settings, is_loopback, read

from .pages import PREFIX
from .router import make_router
from .settings import ReportSettings
from .tasks import clean_up, process_report, report_failed

logger = structlog.get_logger(__name__)


def create_feature(settings: Settings) -> Feature:
    """Make the feature. Raises ConfigurationError for a bad setting, which stops the start."""
    report_settings = read(ReportSettings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _check(report_settings, settings)
        add_link(app, "Reports", PREFIX)
        yield

    return Feature(
        name="reports",
        router=make_router(settings),
        tasks=[process_report, report_failed, clean_up],
        lifespan=lifespan,
    )


def _check(report_settings: ReportSettings, settings: Settings) -> None:
    if report_settings.max_stored_bytes < settings.max_upload_bytes:
        msg = "REPORTS_MAX_STORED_BYTES: it must be at least MAX_UPLOAD_BYTES"
        raise ConfigurationError(f"invalid settings:\n  {msg}")
    host = report_settings.public_url.host or ""
    if settings.in_production and is_loopback(host.strip("[]")):
        logger.warning("REPORTS_PUBLIC_URL is this machine: no link in a mail works")
