"""Ring 4: proofs of the platform's promises, run on the template's own files as they lie."""

from __future__ import annotations

from pathlib import Path

import proofs
import pytest

from tests.conftest import Make
from tests.interpreters import INTERPRETERS, NEWEST, OLDEST
from tests.options import DEFAULTS, MAXIMAL, title

pytestmark = pytest.mark.generated

# `make test` runs each proof on one Python: proofs of databases on both databases, proofs of
# workers on PostgreSQL, all others on SQLite.
PARTS = {
    "servers": ("postgresql", ["db", "tasks/celery", "tasks/durable/test_postgresql.py"]),
    "tasks": ("sqlite", ["tasks", "--ignore=tasks/celery"]),
    "features": ("sqlite", ["features"]),
    "core": ("sqlite", ["core", "db", "mail"]),
}
PYTHON = {"sqlite": NEWEST, "postgresql": OLDEST}


@pytest.mark.parametrize("part", PARTS)
def test_proofs_hold_for_the_template_as_it_lies(part: str) -> None:
    database, paths = PARTS[part]
    python = INTERPRETERS[PYTHON[database]]
    code = proofs.prove(
        proofs.AS_IT_LIES, database, "-m", "not exhaustive", only=paths, python=python
    )
    assert code == 0


@pytest.mark.xdist_group(f"{title(MAXIMAL)}-{OLDEST}")  # its hooks use the same cache of mypy
def test_types_of_the_template_the_proofs_and_the_benchmarks_are_correct() -> None:
    assert proofs.check_types(proofs.AS_IT_LIES) == 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("database", proofs.databases(proofs.AS_IT_LIES))
def test_all_proofs_hold_on_every_database(database: str) -> None:
    assert proofs.prove(proofs.AS_IT_LIES, database) == 0


@pytest.mark.exhaustive
def test_proofs_hold_in_a_generated_project(install: Make) -> None:
    assert proofs.prove(install(OLDEST, **DEFAULTS), "sqlite") == 0


def test_a_folder_that_is_no_project_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["proofs.py", "--project", str(tmp_path)])
    with pytest.raises(SystemExit, match="is not a generated project"):
        proofs.main()


def test_every_folder_of_proofs_is_in_a_part() -> None:
    folders = {path.name for path in proofs.PROOFS.iterdir() if (path / "__init__.py").exists()}
    assert folders == {name for _, paths in PARTS.values() for name in paths if name in folders}
