"""Run the proofs of tests/proofs, on the template's own files or on a generated project.

They run in the environment of the project, from its folder, so that `app` and `tests` are the
project's. The template's own files have every option on, but cannot be installed as a project:
their environment is made of the packages that their pyproject.toml names.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bake import PROJECT_FOLDER, ROOT
from service import child_environment, python_of

AS_IT_LIES = ROOT / PROJECT_FOLDER
PROOFS = ROOT / "tests" / "proofs"
BENCHMARKS = ROOT / "benchmarks"
# Caches of Python and of the proofs, which must not be written into the project.
CACHE = ROOT / "build" / "proofs"


def main() -> None:
    """Run the proofs on every database that the project supports."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Other arguments go to pytest.")
    parser.add_argument("--project", type=Path, default=AS_IT_LIES)
    options, arguments = parser.parse_known_args()
    project = options.project.resolve()
    if not databases(project):
        sys.exit(f"{project} is not a generated project: it has no tests/databases")
    failed = [database for database in databases(project) if prove(project, database, *arguments)]
    sys.exit(f"failed on {', '.join(failed)}" if failed else 0)


def databases(project: Path) -> list[str]:
    """Return the schemes of the databases that a project can be tested on."""
    folder = project / "tests" / "databases"
    return [name for name in ("postgresql", "sqlite") if (folder / f"{name}.py").exists()]


def check_types(project: Path) -> int:
    """Run mypy on a project, the proofs and the benchmarks; return the exit code."""
    files = read_pyproject(project)["tool"]["mypy"]["files"]
    return run(project, "mypy", "--explicit-package-bases", *files, str(PROOFS), str(BENCHMARKS))


def prove(
    project: Path, database: str, *arguments: str, only: Sequence[str] = (), python: str = ""
) -> int:
    """Run pytest on the proofs with temporary databases; return its exit code.

    `only` selects proofs by their paths in tests/proofs, or leaves some out by `--ignore=path`.
    """
    proofs = [_path(text) for text in only] or [str(PROOFS)]
    return run(project, "pytest", *arguments, *proofs, database=database, python=python)


def _path(text: str) -> str:
    option, equals, path = text.rpartition("=")
    return f"{option}{equals}{PROOFS / path}"


def run(project: Path, module: str, *arguments: str, database: str = "", python: str = "") -> int:
    """Run a module with the packages of a project and the proofs; return its exit code.

    `python` is the interpreter; by default that of the project's environment, if it has one.
    """
    command = [*in_environment(project), "python", "-m", module, *arguments]
    its_own = python_of(project)
    environment = child_environment(
        UV_PYTHON=python or (str(its_own) if its_own.exists() else sys.executable),
        HYPOTHESIS_STORAGE_DIRECTORY=str(CACHE / "hypothesis"),
        MYPYPATH=os.pathsep.join([str(project), str(PROOFS), str(BENCHMARKS)]),
        PYTHONDONTWRITEBYTECODE="",
        PYTHONPYCACHEPREFIX=os.environ.get("PYTHONPYCACHEPREFIX", str(CACHE / "bytecode")),
        # A URL without a host makes the tests start a server of their own.
        TEST_DATABASE_URL=f"{database}://" if database else "",
    )
    return subprocess.run(command, cwd=project, env=environment, check=False).returncode


def in_environment(project: Path) -> list[str]:
    """Return the start of a command that runs with the packages of a project and the proofs."""
    uv_run = [os.environ.get("UV", "uv"), "run", "--quiet"]
    proofs = ["--with-requirements", str(PROOFS / "requirements.txt")]
    if project.name != PROJECT_FOLDER:
        return [*uv_run, *proofs]
    packages = (word for package in packages_of(project) for word in ("--with", package))
    return [*uv_run, "--no-project", *packages, *proofs]


def packages_of(project: Path) -> Iterator[str]:
    """Yield the packages of a pyproject.toml; not rendered, it has those of every option."""
    declared = read_pyproject(project)
    yield from declared["project"]["dependencies"]
    yield from declared["dependency-groups"]["dev"]


def read_pyproject(project: Path) -> dict[str, Any]:
    """Return the parsed pyproject.toml of a project."""
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
