"""Ring 1: the template's own files, before Cookiecutter reads them, pass the service's checks.

Their types are checked together with those of the proofs: see test_proofs.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source_tree import files, read


def test_no_python_file_contains_an_answer_except_the_slug(service_as_it_lies: Path) -> None:
    rendered = re.compile(r"\{#|\{\{(?! cookiecutter\.project_slug \}\})")
    python = [name for name in files(service_as_it_lies) if name.endswith(".py")]
    assert [name for name in python if rendered.search(read(service_as_it_lies, name))] == []


@pytest.mark.parametrize("command", ["check", "format --check --diff"])
def test_ruff_finds_nothing(service_as_it_lies: Path, command: str) -> None:
    ruff = [sys.executable, "-m", "ruff", *command.split(), "--no-cache", "."]
    assert subprocess.run(ruff, cwd=service_as_it_lies, check=False).returncode == 0
