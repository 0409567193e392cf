"""Ring 3: the steps of the Dockerfile, done in a folder, so that no Docker engine is needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import budgets
import pytest
from service import ServiceError, child_environment, free_port, wait_for

from tests.conftest import Make
from tests.interpreters import INTERPRETERS, NEWEST
from tests.options import DEFAULTS, title
from tests.source_tree import files

pytestmark = [pytest.mark.generated, pytest.mark.xdist_group(f"{title(DEFAULTS)}-{NEWEST}")]


@dataclass
class Image:
    """What the image would contain: its files, and how it starts."""

    root: Path
    instructions: list[tuple[str, str]]
    built: frozenset[str]

    def last(self, name: str) -> str:
        """Return the arguments of the last instruction of a kind."""
        return [arguments for kind, arguments in self.instructions if kind == name][-1]

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of a container."""
        assignments = re.findall(r"(\S+)=(\S+)", self.last("ENV"))
        own = {name: value.replace("/service", str(self.root)) for name, value in assignments}
        path = own["PATH"].replace("$PATH", os.environ["PATH"])
        return child_environment(**{**own, "PATH": path}, **extra)


def read_dockerfile(text: str) -> list[tuple[str, str]]:
    """Return the instructions, each on one line."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    return [(kind, arguments) for kind, _, arguments in (line.partition(" ") for line in lines)]


@pytest.fixture(scope="module")
def image(install: Make, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The build stage, done in a folder with the files that `.dockerignore` lets through."""
    project = install(NEWEST, **DEFAULTS)
    root = tmp_path_factory.mktemp("image") / "service"
    root.mkdir()
    instructions = read_dockerfile((project / "Dockerfile").read_text(encoding="utf-8"))
    kinds = [kind for kind, _ in instructions]
    stages = [number for number, kind in enumerate(kinds) if kind == "FROM"]
    sent = (project / ".dockerignore").read_text(encoding="utf-8")
    for kind, arguments in instructions[stages[1] : stages[2]]:
        if kind == "COPY" and not arguments.startswith("--from"):
            *sources, target = arguments.split()
            for source in sources:
                assert f"!{source}\n" in sent
                copy(project / source, root / target)
        elif kind == "RUN":
            python = INTERPRETERS[NEWEST]
            command = re.sub(r"--mount=\S+ ", "", arguments).replace("python ", f"{python} ")
            environment = child_environment(UV_PYTHON=python, UV_COMPILE_BYTECODE="1")
            subprocess.run(["sh", "-ec", command], cwd=root, env=environment, check=True)
    (root / "data").mkdir()
    return Image(root, instructions, frozenset(files(root)))


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[str]]]:
    """A migrated service started by CMD, and the command that checks its health."""
    port = str(free_port())
    environment = image.environment(
        API_KEYS="only-for-this-test",
        EMAIL_BACKEND="smtp",
        EMAIL_SMTP_HOST="localhost",
        TMPDIR=str(tmp_path),
        SHUTDOWN_DELAY="0",
    )
    start = [port if word == "8000" else word for word in json.loads(image.last("CMD"))]
    health = re.sub(r".* CMD ", "", image.last("HEALTHCHECK")).replace("8000", port)
    subprocess.run(["alembic", "upgrade", "head"], cwd=image.root, env=environment, check=True)
    with subprocess.Popen(start, cwd=image.root, env=environment) as process:
        yield process, json.loads(health)
        process.kill()


def healthy(image: Image, command: list[str]) -> bool:
    result = subprocess.run(
        command, cwd=image.root, env=image.environment(), capture_output=True, check=False
    )
    return result.returncode == 0


def test_the_installed_size_is_within_its_budget(image: Image) -> None:
    complaints = [budgets.complaint(name, image.root) for name in budgets.INSTALLED]
    assert [complaint for complaint in complaints if complaint] == []


def test_the_service_becomes_healthy_and_writes_only_to_its_data(
    image: Image, container: tuple[subprocess.Popen[bytes], list[str]]
) -> None:
    process, health = container
    if not wait_for(lambda: healthy(image, health) or None, seconds=30):
        message = "not healthy after 30 seconds"
        raise ServiceError(message)
    process.terminate()
    process.wait(30)
    assert not healthy(image, health)
    written = set(files(image.root)) - image.built
    assert {path.partition("/")[0] for path in written} <= {"data"}
