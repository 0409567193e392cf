"""Projects to look at: the template is copied once, and every set of answers is generated once."""

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

from tests.interpreters import HERE, NEWEST, OLDEST
from tests.options import DEFAULTS, MAXIMAL, title

Make = Callable[..., Path]

# They run in the environment of the service: see scripts/proofs.py.
collect_ignore = ["proofs"]

# What takes longest, in the order to begin. A process of xdist takes two at first, and does the
# second when it has done the first: so one that takes minutes is followed by one that may wait.
LONGEST = (
    *("[servers]", "[tasks]"),
    *(f"[{title(DEFAULTS)}-{NEWEST}]", f"[{title(MAXIMAL)}-{OLDEST}]"),
    "[features]",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that nobody waits for it at the end."""

    def rank(item: pytest.Item) -> int:
        known = (n for n, name in enumerate(LONGEST) if item.name.endswith(name))
        others = item.path.stem not in {"test_proofs", "test_generated"}
        return next(known, len(LONGEST) + others)

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def _files_only() -> None:
    """Let projects be generated fast, and the same each time."""
    os.environ.update(BARE)


@pytest.fixture(scope="session", autouse=True)
def _caches(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let all that is started, in all workers of xdist, keep what Python and mypy have compiled.

    Without bytecode a process of a service takes four times as long to start, and images of Python
    for containers often tell it to write none.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["MYPY_CACHE_DIR"] = str(shared / "mypy")
    os.environ["PYTHONPYCACHEPREFIX"] = str(shared / "bytecode")
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Let each file of the template be compiled once: that is half of what a generation takes."""
    compile_anew: Callable[..., Any] = jinja2.Environment.compile
    known: dict[tuple[str, ...], Any] = {}

    def compile_once(env: jinja2.Environment, *source_and_names: str) -> Any:
        key = env.block_start_string, *source_and_names
        if key not in known:
            known[key] = compile_anew(env, *source_and_names)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compile_once)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a clean clone has it."""
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
    """A function of the answers that gives a generated project, to be read only."""

    @cache
    def make(**answers: object) -> Path:
        return generate(template, tmp_path_factory.mktemp("baked"), config, answers)

    return make


@pytest.fixture(scope="session")
def install(bake: Make, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function of Python's version and the answers: a project with its environment, in git."""

    @cache
    def make(python: str, **answers: object) -> Path:
        project = tmp_path_factory.mktemp("installed") / "my-service"
        shutil.copytree(bake(**answers), project)
        uv("sync", "--quiet", "--python", HERE[python], project=project)
        for command in (["init", "--quiet"], ["add", "--all"]):
            subprocess.run(["git", *command], cwd=project, check=True)
        return project

    return make


@pytest.fixture(scope="session")
def environment(install: Make) -> dict[str, str]:
    """What lets commands run in the environment that ring 3 has for the default service."""
    installed = install(NEWEST, **DEFAULTS)
    return {"UV_PROJECT_ENVIRONMENT": str(installed / ".venv"), "UV_PYTHON": HERE[NEWEST]}
