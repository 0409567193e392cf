"""Stands for `sqlite.py` or `postgresql.py`: a generated project has one of them, under this name.

As the template's files lie both are there, and the environment says which one is in use.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sqlite import *  # noqa: F403 - both offer the same, and each is checked by itself
else:
    url = os.environ.get("TEST_DATABASE_URL") or os.environ.get("DATABASE_URL") or ""
    name = "postgresql" if url.startswith("postgres") else "sqlite"
    sys.modules[__name__] = import_module(f"{__package__}.{name}")
