"""A feature of the user's own, made by the steps in the README of a service."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Make
from tests.interpreters import NEWEST
from tests.options import DEFAULTS, MAXIMAL, MINIMAL, Answers, title
from tests.source_tree import read
from tests.walking import CHECK, REVISION, UPGRADE, copied, run


def commands(project: Path) -> list[str]:
    """Return the commands that the README gives for a feature, in order."""
    text = read(project, "README.md").split("## A feature of your own\n")[1]
    return text.split("```console\n")[1].split("```")[0].splitlines()


@pytest.mark.generated
@pytest.mark.xdist_group(f"{title(DEFAULTS)}-{NEWEST}")
def test_the_steps_of_the_readme_add_and_remove_a_feature(
    bake: Make, environment: dict[str, str], tmp_path: Path
) -> None:
    project = copied(bake(**DEFAULTS), tmp_path / "my-service")
    *steps, testing = commands(project)
    assert steps[0] == "cp -r scaffold/. ."
    run(project, *steps, **environment)

    checks = ["uv run ruff check", "uv run ruff format --check", "uv run mypy", CHECK]
    coverage = "--cov=app/features/orders --cov-fail-under=100 -p no:cacheprovider"
    run(project, *checks, f"{testing} tests/test_feature.py {coverage}", **environment)

    run(project, "rm -r app/features/orders tests/features/orders", **environment)
    run(project, f'{REVISION} "without orders"', UPGRADE, CHECK, **environment)


@pytest.mark.parametrize("answers", [DEFAULTS, MAXIMAL, MINIMAL], ids=title)
def test_agents_md_names_files_and_tools_that_exist(bake: Make, answers: Answers) -> None:
    project = bake(**answers)
    rules = read(project, "AGENTS.md")
    names = re.findall(r"`((?:app|tests|migrations)/[\w./]*|[\w./]+\.md)`", rules)
    tools = re.findall(r"(?m)^uv run (\w+)", rules)
    checks = rules.split("## Checks\n")[1]

    assert {"app/service.py", "tests/README.md"} <= set(names)
    assert [name for name in names if not (project / name).exists()] == []
    assert [tool for tool in tools if f"{tool}>=" not in read(project, "pyproject.toml")] == []
    assert "alembic" not in checks, "fails without a migrated database; pytest checks the same"
