"""EXAMPLE: a CSV file is uploaded, a task computes statistics, the result is stored and mailed.

- `feature.py` puts it together
- `router.py` the endpoints, `schemas.py` what goes in and out, `models.py` the table
- `pages.py` the same for browsers, with `charts.py` and `display.py`; `problem_pages.py` errors
- `uploads.py` where a file waits for its task, `tasks.py` the task, `mail.py` what it mails
- `leftovers.py` ends reports whose task cannot, and removes files that nobody needs
- `analysis.py` runs DuckDB in a thread, which reads the file (`csv_file.py`) and computes
  (`statistics.py`)

To remove it, delete this folder, `tests/features/reports` and its file in `migrations/versions`.
"""

from app.feature import Feature
from app.settings import Settings

from .feature import make_feature


def create_feature(settings: Settings) -> Feature:
    """Make the feature."""
    return make_feature(settings)
