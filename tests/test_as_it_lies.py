"""Ring 1: the template's own files, before Cookiecutter reads them, pass the service's checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from service import python_of

from tests.conftest import Make
from tests.interpreters import OLDEST
from tests.options import MAXIMAL, title
from tests.source_tree import files, read


def test_no_python_file_holds_an_answer_but_the_slug(service_as_it_lies: Path) -> None:
    rendered = re.compile(r"\{#|\{\{(?! cookiecutter\.project_slug \}\})")
    python = [name for name in files(service_as_it_lies) if name.endswith(".py")]
    assert [name for name in python if rendered.search(read(service_as_it_lies, name))] == []


@pytest.mark.parametrize("command", ["check", "format --check --diff"])
def test_ruff(service_as_it_lies: Path, command: str) -> None:
    ruff = [sys.executable, "-m", "ruff", *command.split(), "--no-cache", "."]
    assert subprocess.run(ruff, cwd=service_as_it_lies, check=False).returncode == 0


@pytest.mark.generated
@pytest.mark.xdist_group(f"{title(MAXIMAL)}-{OLDEST}")
def test_mypy(service_as_it_lies: Path, install: Make) -> None:
    everything = install(OLDEST, **MAXIMAL)
    mypy = [str(python_of(everything)), "-m", "mypy"]
    assert subprocess.run(mypy, cwd=service_as_it_lies, check=False).returncode == 0
