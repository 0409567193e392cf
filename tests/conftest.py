"""Fixtures: a copy of the template, and a project for each set of answers, generated once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pytest
from bake import BARE, PROJECT_FOLDER, copy_template, generate, write_config
from service import uv

from tests.interpreters import INTERPRETERS, NEWEST, OLDEST
from tests.options import DEFAULTS, MAXIMAL, title

Make = Callable[..., Path]

# Proofs run in the environment of a service: see scripts/proofs.py.
collect_ignore = ["proofs"]

# The slowest tests, in the order in which they begin. Each worker of xdist takes two at first and
# runs the second after the first, so a test that takes minutes is followed by one that can wait.
LONGEST = (
    *("[servers]", "[tasks]"),
    *(f"[{title(DEFAULTS)}-{NEWEST}]", f"[{title(MAXIMAL)}-{OLDEST}]"),
    "[features]",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest tests, so that no worker runs them alone at the end."""

    def rank(item: pytest.Item) -> int:
        ranks = (n for n, name in enumerate(LONGEST) if item.name.endswith(name))
        is_quick = item.path.stem not in {"test_proofs", "test_generated"}
        return next(ranks, len(LONGEST) + is_quick)

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def _files_only() -> None:
    """Generate files only, which is fast and gives the same result every time."""
    os.environ.update(BARE)


@pytest.fixture(scope="session", autouse=True)
def _caches(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Share caches of bytecode and of mypy among all processes that the tests start.

    Without bytecode, a process of a service takes four times as long to start, and container images
    of Python often turn it off.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["MYPY_CACHE_DIR"] = str(shared / "mypy")
    os.environ["PYTHONPYCACHEPREFIX"] = str(shared / "bytecode")
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Compile each file of the template once: compiling is half of the time of a generation."""
    compile_template: Callable[..., Any] = jinja2.Environment.compile
    compiled: dict[tuple[str, ...], Any] = {}

    def compile_once(env: jinja2.Environment, *source_and_names: str) -> Any:
        key = env.block_start_string, *source_and_names
        if key not in compiled:
            compiled[key] = compile_template(env, *source_and_names)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compile_once)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as it is in a clean clone."""
    return copy_template(tmp_path_factory.mktemp("clean") / "template")


@pytest.fixture(scope="session")
def service_as_it_lies(template: Path) -> Path:
    """The project folder, not rendered."""
    return template / PROJECT_FOLDER


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Cookiecutter configuration that keeps the developer's own out of the tests."""
    return write_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session")
def bake(template: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that takes answers and returns a generated project, which nobody may change."""

    @cache
    def make(**answers: object) -> Path:
        return generate(template, tmp_path_factory.mktemp("baked"), config, answers)

    return make


@pytest.fixture(scope="session")
def install(bake: Make, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that takes a version of Python and answers, and returns an installed project."""

    @cache
    def make(python: str, **answers: object) -> Path:
        project = tmp_path_factory.mktemp("installed") / "my-service"
        shutil.copytree(bake(**answers), project)
        uv("sync", "--quiet", "--python", INTERPRETERS[python], project=project)
        for command in (["init", "--quiet"], ["add", "--all"]):
            subprocess.run(["git", *command], cwd=project, check=True)
        return project

    return make


@pytest.fixture(scope="session")
def environment(install: Make) -> dict[str, str]:
    """Variables with which commands run in the environment of the default service of ring 3."""
    installed = install(NEWEST, **DEFAULTS)
    return {"UV_PROJECT_ENVIRONMENT": str(installed / ".venv"), "UV_PYTHON": INTERPRETERS[NEWEST]}
