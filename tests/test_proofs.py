"""Ring 4: the platform's promises are proven on the template's own files, as they lie."""

from __future__ import annotations

import proofs
import pytest

from tests.conftest import Make
from tests.interpreters import HERE, NEWEST, OLDEST
from tests.options import DEFAULTS

pytestmark = [pytest.mark.generated, pytest.mark.xdist_group("proofs")]


def test_types() -> None:
    assert proofs.check_types(proofs.AS_IT_LIES) == 0


TASKS = proofs.PROOFS / "tasks"
DURABLE = [file for file in (TASKS / "durable").glob("test_*.py") if file.stem != "test_postgresql"]
# In `make test` every proof runs on one Python, and on one database unless it is about databases;
# those of workers run on PostgreSQL.
BRIEFLY = {
    "sqlite": [f"--ignore={TASKS / 'celery'}"],
    "postgresql": [
        *(f"--ignore={proofs.PROOFS / folder}" for folder in ("core", "features", "mail")),
        f"--ignore-glob={TASKS / 'test_*.py'}",
        *(f"--ignore={file}" for file in DURABLE),
    ],
}
PYTHON = {"sqlite": NEWEST, "postgresql": OLDEST}


@pytest.mark.parametrize("database", proofs.databases(proofs.AS_IT_LIES))
def test_they_hold_as_the_files_lie(request: pytest.FixtureRequest, database: str) -> None:
    briefly = ["-m", "not exhaustive", *BRIEFLY[database]]
    chosen = briefly if request.config.option.markexpr else []
    python = HERE[PYTHON[database]]
    assert proofs.prove(proofs.AS_IT_LIES, database, *chosen, python=python) == 0


@pytest.mark.exhaustive
def test_they_hold_in_a_generated_project(install: Make) -> None:
    assert proofs.prove(install(OLDEST, **DEFAULTS), "sqlite") == 0
