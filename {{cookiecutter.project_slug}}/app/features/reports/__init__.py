"""EXAMPLE: a CSV file is uploaded, a task computes statistics, the result is stored and mailed.

- `router.py` the endpoints, `schemas.py` their answers, `models.py` the table
- `tasks.py` the tasks, the files that they read, and the mail that they send
- `csv_file.py` prepares a file, `columns.py` computes its statistics with DuckDB
- `pages.py` renders pages, and formats values for pages and mails
"""

from app.feature import Feature
from app.settings import Settings

from .router import make_router
from .settings import report_settings
from .tasks import process_report, report_failed


def create_feature(settings: Settings) -> Feature:
    """Make the feature. Raises ConfigurationError for a bad setting, which stops the start."""
    report_settings.cache_clear()  # in tests, an earlier service may have had other settings
    report_settings()
    return Feature(
        name="reports",
        router=make_router(settings),
        tasks=[process_report, report_failed],
        links={"/reports": "Reports"},
    )
