"""Third-party linters find nothing wrong with a generated project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from bake import ROOT
from service import child_environment

from tests.conftest import Make
from tests.interpreters import INTERPRETERS, NEWEST, OLDEST
from tests.options import DEFAULTS, MAXIMAL, MINIMAL, Answers, title

GITLAB = {**MAXIMAL, "ci_provider": "gitlab"}
SCHEMA = "check-jsonschema --builtin-schema vendor"

# What a linter checks: its command, and a file without which it has nothing to check.
JUDGES = {
    "workflows are safe": ("zizmor --offline --quiet --persona=pedantic .", ".github"),
    "workflows are valid": ("actionlint", ".github"),
    "workflow schema": (f"{SCHEMA}.github-workflows .github/workflows/ci.yml", ".github"),
    "dependabot schema": (f"{SCHEMA}.dependabot .github/dependabot.yml", ".github"),
    "GitLab schema": (f"{SCHEMA}.gitlab-ci .gitlab-ci.yml", ".gitlab-ci.yml"),
    "compose schema": (f"{SCHEMA}.compose-spec compose.yaml", "compose.yaml"),
    "Dockerfile": ("hadolint Dockerfile", "Dockerfile"),
    "pyproject.toml": ("validate-pyproject pyproject.toml", "pyproject.toml"),
}

# Rules of Scientific Python for libraries that a service does not follow, with the reasons.
NOT_FOR_A_SERVICE = {
    "PY004": "the README is the documentation",
    "PY007": "uv runs the tasks: there are two commands",
    "PP002": "nothing is built: a service is not a distribution",
    "PP003": "nothing is built: a service is not a distribution",
    "PC100": "hooks are local, and their versions those of uv.lock",
    "PC110": "hooks are local: ruff format is one of them",
    "PC140": "hooks are local: mypy is one of them",
    "PC160": "the authors check their prose",
    "PC170": "there is no reStructuredText",
    "PC180": "the authors format their prose",
    "PC190": "hooks are local: ruff is one of them",
    "PC901": "there is no pre-commit.ci: CI runs the hooks",
    "PC902": "there is no pre-commit.ci: CI runs the hooks",
    "PC903": "there is no pre-commit.ci: CI runs the hooks",
    "SEC001": "zizmor judges the workflow here",
}

DEPTRY = [
    "--per-rule-ignores=DEP002=aiosqlite|psycopg|python-multipart,DEP003=anyio|pydantic|pydantic_core|starlette|uvicorn",
    "--known-first-party=app",
    "--extend-exclude=scaffold",  # its tests are not at the root
]


def tool(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts"), name))


@pytest.fixture(scope="module")
def judged(bake: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three projects that have every file between them, in git, which some linters need."""
    projects = {}
    for answers in (MAXIMAL, MINIMAL, GITLAB):
        project = tmp_path_factory.mktemp("judged") / "my-service"
        shutil.copytree(bake(**answers), project)
        for command in (["init", "--quiet"], ["add", "--all"]):
            subprocess.run(["git", *command], cwd=project, check=True)
        projects[title(answers)] = project
    return projects


@pytest.mark.parametrize("judge", JUDGES)
def test_a_linter_finds_nothing(judged: dict[str, Path], judge: str) -> None:
    command, subject = JUDGES[judge]
    name, *arguments = command.split()
    projects = [project for project in judged.values() if (project / subject).exists()]
    assert projects
    for project in projects:
        subprocess.run([tool(name), *arguments], cwd=project, check=True)


@pytest.mark.parametrize("project", [title(answers) for answers in (MAXIMAL, MINIMAL, GITLAB)])
def test_the_repository_follows_scientific_python(judged: dict[str, Path], project: str) -> None:
    folder = judged[project]
    absent = [] if (folder / ".github").exists() else ["GH"]  # the rules for GitHub's files
    ignored = ",".join([*NOT_FOR_A_SERVICE, *absent])
    command = [tool("sp-repo-review"), f"--ignore={ignored}", "--show=err", "."]
    subprocess.run(command, cwd=folder, check=True)


def uv_run_with(
    package: str, *command: str, project: Path, python: str, **environment: str
) -> None:
    """Run a command in the project's environment with one additional package."""
    subprocess.run(
        [os.environ.get("UV", "uv"), "run", "--no-sync", "--with", package, *command],
        cwd=project,
        env=child_environment(UV_PYTHON=INTERPRETERS[python], **environment),
        check=True,
    )


def installed(answers: Answers, python: str) -> pytest.MarkDecorator:
    """Run a test in the worker that has already installed this project."""
    return pytest.mark.xdist_group(f"{title(answers)}-{python}")


@pytest.mark.generated
@installed(MAXIMAL, OLDEST)
def test_declared_dependencies_are_the_imported_ones(install: Make) -> None:
    project = install(OLDEST, **MAXIMAL)
    uv_run_with("deptry", "deptry", ".", *DEPTRY, project=project, python=OLDEST)


@pytest.mark.generated
@installed(DEFAULTS, NEWEST)
def test_every_response_of_the_api_is_documented(install: Make, tmp_path: Path) -> None:
    settings = tmp_path / "pytest.toml"
    settings.write_text("[pytest]\n", encoding="utf-8")
    script = ROOT / "judges" / "openapi.py"
    uv_run_with(
        "schemathesis",
        *("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(settings)),
        "--assert=plain",  # else pytest rewrites the assertions of all modules of schemathesis
        str(script),
        project=install(NEWEST, **DEFAULTS),
        python=NEWEST,
        ENVIRONMENT="test",
        API_KEYS="judge",
        DATABASE_URL=f"sqlite:///{tmp_path}/judged.db",
        EMAIL_BACKEND="memory",
        PYTHONPATH=".",
    )
