"""The README of a service says how to remove its examples, so that nothing of them remains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Make
from tests.interpreters import NEWEST
from tests.options import DEFAULTS, MAXIMAL, Answers, title
from tests.own_feature import add_orders
from tests.source_tree import read, read_all
from tests.walking import CHECK, REVISION, UPGRADE, copied, run

SERVICE_OF_RING_3 = pytest.mark.xdist_group(f"{title(DEFAULTS)}-{NEWEST}")
NO_DASHBOARD = {**DEFAULTS, "include_dashboard": False}
PAGES = re.compile(r"(app|app/features|tests)/pages/|migrations/versions/0002_")


def section(project: Path) -> str:
    """Return the section of the README on the examples."""
    return read(project, "README.md").split("## The examples\n")[1].split("\n## ")[0]


def commands(project: Path) -> list[str]:
    """Return the commands of that section, in order."""
    blocks: list[str] = re.findall(r"```console\n(.*?)```", section(project), re.DOTALL)
    return blocks[-1].splitlines()


def delete_lines(project: Path) -> None:
    """Delete the lines that the section asks the user to delete."""
    readme, example = project / "README.md", project / ".env.example"
    text = read(project, "README.md").replace(f"## The examples\n{section(project)}\n", "")
    readme.write_text(re.sub(r"(?m)^.*app/features/reports/.*\n", "", text), encoding="utf-8")
    kept = read(project, ".env.example").split("\n# The examples\n")[0]
    example.write_text(kept, encoding="utf-8")


@pytest.mark.parametrize("answers", [DEFAULTS, MAXIMAL, NO_DASHBOARD], ids=title)
def test_the_rest_is_a_project_generated_without_examples(
    bake: Make, tmp_path: Path, answers: Answers
) -> None:
    project = copied(bake(**answers), tmp_path / "my-service")
    run(project, *(line for line in commands(project) if "alembic" not in line))
    delete_lines(project)

    rest, expected = read_all(project), read_all(bake(**{**answers, "include_example": False}))
    if answers["include_dashboard"]:
        assert rest == expected
    else:  # the section says that some files stay
        extra = set(rest) - set(expected)
        assert extra == {name for name in rest if PAGES.match(name)} != set()
        assert set(expected) <= set(rest)


@pytest.fixture(scope="module")
def with_database(
    bake: Make, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The default service with a migrated database."""
    project = copied(bake(**DEFAULTS), tmp_path_factory.mktemp("migrated") / "my-service")
    run(project, UPGRADE, **environment)
    return project


@pytest.fixture
def migrated(with_database: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return copied(with_database, tmp_path / "my-service")


@pytest.mark.generated
@SERVICE_OF_RING_3
def test_removal_works_on_an_existing_database(migrated: Path, environment: dict[str, str]) -> None:
    run(migrated, *commands(migrated), CHECK, **environment)


@pytest.mark.generated
@SERVICE_OF_RING_3
def test_removal_works_with_other_migrations(migrated: Path, environment: dict[str, str]) -> None:
    add_orders(migrated)
    run(migrated, f"{REVISION} orders", UPGRADE, *commands(migrated)[2:], **environment)
    again, *_ = re.findall(rf"`({REVISION}.*?)`", section(migrated))
    tests = "uv run pytest -q -p no:cacheprovider tests/db/test_migrations.py"
    run(migrated, again, UPGRADE, CHECK, tests, **environment)


@pytest.mark.exhaustive
@pytest.mark.generated
@SERVICE_OF_RING_3
def test_the_tests_pass_with_a_users_feature(migrated: Path, environment: dict[str, str]) -> None:
    add_orders(migrated)
    run(migrated, f"{REVISION} orders", UPGRADE, **environment)
    command, *_ = re.findall(
        r"uv run --with pytest-xdist pytest -n auto", read(migrated, "tests/README.md")
    )
    run(migrated, command.replace("auto", "2"), **environment)
