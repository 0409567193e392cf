"""Runs the commands that a user types in a generated service."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bake import ROOT
from service import child_environment

REVISION = "uv run alembic revision --autogenerate -m"
UPGRADE = "uv run alembic upgrade head"
CHECK = "uv run alembic check"  # tables and models agree


def run(project: Path, *lines: str, **environment: str) -> None:
    """Run commands as a user types them, but without locking or installing packages."""
    uv = Path(os.environ.get("UV", ROOT / ".tools" / "bin" / "uv"))
    path = f"{os.environ['PATH']}{os.pathsep}{uv.parent}"
    for line in lines:
        offline = "UV_FROZEN" if line.startswith("uv remove") else "UV_NO_SYNC"
        variables = child_environment(**{offline: "1"}, PATH=path, **environment)
        subprocess.run(["bash", "-ec", line], cwd=project, env=variables, check=True)


def copied(project: Path, destination: Path) -> Path:
    """Return a copy of a project, without its environment."""
    return shutil.copytree(project, destination, ignore=shutil.ignore_patterns(".venv", ".git"))
