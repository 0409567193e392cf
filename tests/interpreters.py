"""The versions of Python that a service supports and this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUPPORTED = ("3.11", "3.12", "3.13")


def _candidates(version: str) -> Iterator[str]:
    """Yield possible interpreters: the one of this process, those of pyenv, the one on PATH.

    The one on PATH is last, because pyenv's is a slow script that may find no interpreter.
    """
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield sys.executable
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    yield from (str(path) for path in sorted(versions.glob(f"{version}.*/bin/python")))
    if on_path := shutil.which(f"python{version}"):
        yield on_path


def _works(interpreter: str) -> bool:
    return subprocess.run([interpreter, "-c", ""], capture_output=True, check=False).returncode == 0


INTERPRETERS = {
    version: interpreter
    for version in SUPPORTED
    for interpreter in [next(filter(_works, _candidates(version)), None)]
    if interpreter
}
OLDEST, *_, NEWEST = [*INTERPRETERS, *INTERPRETERS]
