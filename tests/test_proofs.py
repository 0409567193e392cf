"""Ring 4: the platform's promises are proven on the template's own files, as they lie."""

from __future__ import annotations

import proofs
import pytest

from tests.conftest import Make
from tests.interpreters import HERE, NEWEST, OLDEST
from tests.options import DEFAULTS, MAXIMAL, title

pytestmark = pytest.mark.generated

# In `make test` every proof runs on one Python, and on one database unless it is about databases;
# those of workers run on PostgreSQL.
BRIEFLY = {
    "servers": ("postgresql", ["db", "tasks/celery", "tasks/durable/test_postgresql.py"]),
    "tasks": ("sqlite", ["tasks", "--ignore=tasks/celery"]),
    "features": ("sqlite", ["features"]),
    "core": ("sqlite", ["core", "db", "mail"]),
}
PYTHON = {"sqlite": NEWEST, "postgresql": OLDEST}


@pytest.mark.parametrize("part", BRIEFLY)
def test_they_hold_as_the_files_lie(part: str) -> None:
    database, chosen = BRIEFLY[part]
    python = HERE[PYTHON[database]]
    code = proofs.prove(
        proofs.AS_IT_LIES, database, "-m", "not exhaustive", only=chosen, python=python
    )
    assert code == 0


@pytest.mark.xdist_group(f"{title(MAXIMAL)}-{OLDEST}")  # whose hooks read the same cache of mypy
def test_types_of_the_files_as_they_lie_the_proofs_and_the_benchmarks() -> None:
    assert proofs.check_types(proofs.AS_IT_LIES) == 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("database", proofs.databases(proofs.AS_IT_LIES))
def test_all_of_them_hold_on_every_database(database: str) -> None:
    assert proofs.prove(proofs.AS_IT_LIES, database) == 0


@pytest.mark.exhaustive
def test_they_hold_in_a_generated_project(install: Make) -> None:
    assert proofs.prove(install(OLDEST, **DEFAULTS), "sqlite") == 0


def test_every_proof_is_in_a_part() -> None:
    folders = {path.name for path in proofs.PROOFS.iterdir() if (path / "__init__.py").exists()}
    assert folders == {name for _, chosen in BRIEFLY.values() for name in chosen if name in folders}
