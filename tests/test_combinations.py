"""Ring 2: every combination of the options is generated and read, without installing anything."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from tests.conftest import Make
from tests.options import ALL_COMBINATIONS, SWITCHES, Answers, cases
from tests.source_tree import (
    files,
    imported_packages,
    imports,
    modules,
    reachable_modules,
    read,
    requirements,
)

# One path a line; behind it, the option that has to be on, or two with a | of which one has to.
FILE_LIST = Path(__file__).with_name("files.txt")

# The first line of each license is enough to know it by.
LICENSE_STARTS = {
    "MIT": "MIT License",
    "Apache-2.0": "Apache License",
    "BSD-3-Clause": "BSD 3-Clause License",
    "Proprietary": "Copyright (c)",
}

# Declared, but imported under another name or by nobody: each with its reason.
IMPORT_NAMES = {"opentelemetry-api": "opentelemetry"}
NOT_IMPORTED = {
    "aiosqlite": "SQLAlchemy loads the driver that DATABASE_URL names",
    "mypy": "a command, and its plugin for pydantic",
    "pre-commit": "a command",
    "pre-commit-hooks": "commands of .pre-commit-config.yaml",
    "pytest-cov": "pytest loads it",
    "ruff": "a command",
}
# Imported without being declared: they come with what FastAPI's extra promises.
COMES_WITH = {
    "anyio": "fastapi",
    "pydantic": "fastapi",
    "pydantic_core": "fastapi",
    "starlette": "fastapi",
    "uvicorn": "fastapi",
}


# Words that only a feature has: they must vanish with it.
TRACES = {
    "include_metrics": r"prometheus|/metrics",
    "include_dashboard": r"dashboard",
    "include_example": r"polars|REPORTS_|features[./](reports|notifications)",
    "include_dashboard|include_example": r"/static/|sign-in|(app|features)[./]pages",
}


@pytest.fixture(scope="session", params=cases(ALL_COMBINATIONS))
def answers(request: pytest.FixtureRequest) -> Answers:
    """One combination."""
    chosen: Answers = request.param
    return chosen


@pytest.fixture(scope="session")
def project(bake: Make, answers: Answers) -> Path:
    """The project generated from it."""
    generated: Path = bake(**answers)
    return generated


def expected_files(answers: Mapping[str, object]) -> set[str]:
    rows = [line.split() for line in FILE_LIST.read_text(encoding="utf-8").splitlines()]
    return {path for path, *needs in rows if all(is_on(answers, need) for need in needs)}


def is_on(answers: Mapping[str, object], need: str) -> bool:
    return any(answers[option] for option in need.split("|"))


def python_files(project: Path) -> list[str]:
    return [name for name in files(project) if name.endswith(".py")]


def service_files(project: Path) -> list[str]:
    return [name for name in python_files(project) if not name.startswith("tests/")]


def test_the_folder_is_named_by_the_slug(project: Path) -> None:
    assert project.name == "my-service"


def test_the_files_are_exactly_those_expected(project: Path, answers: Answers) -> None:
    found, expected = set(files(project)), expected_files(answers)
    assert sorted(found - expected) == [], "not in files.txt"
    assert sorted(expected - found) == [], "not in the project"


def test_every_python_file_parses(project: Path) -> None:
    assert all(ast.parse(read(project, name), name) for name in python_files(project))


@pytest.mark.parametrize("command", ["check", "format --check --diff"])
def test_ruff_finds_nothing(project: Path, command: str) -> None:
    ruff = [sys.executable, "-m", "ruff", *command.split(), "--no-cache", "."]
    assert subprocess.run(ruff, cwd=project, check=False).returncode == 0


def test_no_template_code_is_left(project: Path) -> None:
    left = {
        name: match.group()
        for name in files(project)
        # Jinja of the service itself, and GitHub's own expressions
        if not name.endswith(".j2")
        and (match := re.search(r"(?<!\$)\{[{%#]|cookiecutter", read(project, name)))
    }
    assert left == {}


def test_text_is_tidy(project: Path) -> None:
    """LF, no trailing blanks, one newline at the end, no doubled blank lines outside Python."""
    untidy = re.compile(r"\r|[ \t]\n|\n\n\Z|[^\n]\Z|\A\n")
    texts = {name: read(project, name) for name in files(project)}
    prose = {
        name: re.sub(r"```python\n.*?```", "```", text, flags=re.DOTALL)
        for name, text in texts.items()
        if not name.endswith((".py", ".py.mako"))
    }
    assert [name for name, text in texts.items() if untidy.search(text)] == []
    assert [name for name, text in prose.items() if "\n\n\n" in text] == []


def test_data_files_are_valid(project: Path) -> None:
    parsers: dict[str, Callable[[str], object]] = {
        ".toml": tomllib.loads,
        ".yml": yaml.safe_load,
        ".yaml": yaml.safe_load,
        ".json": json.loads,
    }
    data_files = [name for name in files(project) if Path(name).suffix in parsers]
    assert {"pyproject.toml", ".github/workflows/ci.yml"} <= set(data_files)
    assert all(parsers[Path(name).suffix](read(project, name)) for name in data_files)


@pytest.mark.parametrize("judge", ["actionlint", "zizmor --offline --persona=pedantic"])
def test_the_workflow_is_valid_and_safe(bake: Make, judge: str) -> None:
    name, *options = judge.split()
    command = [str(Path(sysconfig.get_path("scripts"), name)), *options, ".github/workflows/ci.yml"]
    assert subprocess.run(command, cwd=bake(), check=False).returncode == 0


def test_the_license_is_the_chosen_one(project: Path, answers: Answers) -> None:
    start = LICENSE_STARTS[str(answers["license"])]
    declared = tomllib.loads(read(project, "pyproject.toml"))["project"]["license"]
    assert read(project, "LICENSE").strip().startswith(start)
    assert "Your Name" in read(project, "LICENSE")
    assert declared.removeprefix("LicenseRef-") == answers["license"]


def import_name(package: str) -> str:
    return IMPORT_NAMES.get(package, package.replace("-", "_"))


def test_every_dependency_is_used_where_it_is_declared(project: Path) -> None:
    needed, for_development = requirements(project)
    imported = imported_packages(project, python_files(project))
    by_service = imported_packages(project, service_files(project))
    unused = {name for name in needed if import_name(name) not in by_service}
    unused |= {name for name in for_development if import_name(name) not in imported}
    assert unused - NOT_IMPORTED.keys() == set()


def test_every_import_is_declared(project: Path) -> None:
    needed, for_development = requirements(project)
    own = {"app", "tests", "migrations", *sys.stdlib_module_names}
    for names, declared in (
        (service_files(project), needed),
        (python_files(project), needed | for_development),
    ):
        known = {import_name(package) for package in declared}
        known |= {module for module, package in COMES_WITH.items() if package in declared}
        assert imported_packages(project, names) - own - known == set()


def test_no_module_is_dead(project: Path) -> None:
    entry_points = [
        name
        for name in service_files(project)
        if name in {"app/__init__.py", "app/main.py"}
        or re.fullmatch(r"app/features/\w+/__init__\.py|migrations/.*", name)
        or 'if __name__ == "__main__":' in read(project, name)
    ]
    assert set(modules(project)) - reachable_modules(project, entry_points) == set()


def test_an_option_that_is_off_leaves_no_trace(project: Path, answers: Answers) -> None:
    assert {option for need in TRACES for option in need.split("|")} == set(SWITCHES)
    off = [re.compile(t, re.IGNORECASE) for need, t in TRACES.items() if not is_on(answers, need)]
    assert [
        (name, trace.pattern)
        for name in files(project)
        for trace in off
        if trace.search(read(project, name))
    ] == []


def test_features_do_not_import_each_other(project: Path) -> None:
    for name in python_files(project):
        if feature := re.match(r"app/features/(\w+)/", name):
            others = {full for full in imports(project, name) if re.match(r"app\.features\.", full)}
            assert {full for full in others if full.split(".")[2] != feature[1]} == set(), name
