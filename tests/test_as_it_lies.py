"""Ring 1: the template's own files, before Cookiecutter reads them, pass the service's checks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from service import python_of

from tests.conftest import Make
from tests.options import SWITCH_COMBINATIONS, title


@pytest.mark.parametrize("command", ["check", "format --check --diff"])
def test_ruff(service_as_it_lies: Path, command: str) -> None:
    ruff = [sys.executable, "-m", "ruff", *command.split(), "--no-cache", "."]
    assert subprocess.run(ruff, cwd=service_as_it_lies, check=False).returncode == 0


@pytest.mark.generated
@pytest.mark.xdist_group(title(SWITCH_COMBINATIONS[0]))
def test_mypy(service_as_it_lies: Path, install: Make) -> None:
    everything = install(**SWITCH_COMBINATIONS[0])
    mypy = [str(python_of(everything)), "-m", "mypy", "--cache-dir", os.devnull]
    assert subprocess.run(mypy, cwd=service_as_it_lies, check=False).returncode == 0
