"""EXAMPLE: a CSV file is uploaded, a task computes statistics, the result is stored and mailed.

- `feature.py` puts it together
- `router.py` the endpoints, `schemas.py` what goes in and out, `models.py` the table
- `pages.py` the same for browsers, with `charts.py` and `display.py`; `problem_pages.py` errors
- `uploads.py` where a file waits for its task, `tasks.py` the task, `mail.py` what it mails
- `leftovers.py` ends reports whose task cannot, and removes files that nobody needs
- `analysis.py` runs `worker.py` in a process of its own, which reads the file (`csv_file.py`) and
  computes (`statistics.py`, `spread.py`, `types.py`)

To remove it, delete this folder, `tests/features/reports` and its file in `migrations/versions`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.feature import Feature
    from app.settings import Settings


def create_feature(settings: "Settings") -> "Feature":
    """Make the feature."""
    # Imported here because the worker imports this package, too, and does well without a web
    # framework: that would double the time it takes to start.
    from .feature import make_feature  # noqa: PLC0415

    return make_feature(settings)
