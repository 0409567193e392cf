"""EXAMPLE: a CSV file is uploaded, a task computes statistics, the result is stored and mailed.

- `router.py` the endpoints, `schemas.py` what goes in and out, `models.py` the table
- `tasks.py` the tasks, the files that wait for them, and their mail
- `csv_file.py` and `columns.py` read the file and compute with DuckDB
- `pages.py` what browsers get, and how values are written in pages and mails
"""

from app.feature import Feature
from app.settings import Settings

from .router import make_router
from .settings import report_settings
from .tasks import process_report, report_failed


def create_feature(settings: Settings) -> Feature:
    """Make the feature. Raises ConfigurationError for a bad setting, which stops the start."""
    report_settings.cache_clear()  # the service before, in a test, had others
    report_settings()
    return Feature(
        name="reports",
        router=make_router(settings),
        tasks=[process_report, report_failed],
        links={"/reports": "Reports"},
    )
