"""Stands in for `sqlite.py` or `postgresql.py`, which a generated project has under this name.

The template's own files include both, and the environment decides which one is used.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sqlite import *  # noqa: F403 - both have the same names, and each is checked by itself
else:
    url = os.environ.get("TEST_DATABASE_URL") or os.environ.get("DATABASE_URL") or ""
    name = "postgresql" if url.startswith("postgres") else "sqlite"
    sys.modules[__name__] = import_module(f"{__package__}.{name}")
