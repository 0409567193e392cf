"""Ring 3: generated services are installed, checked by their own workflow, started and used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bake import ROOT
from service import Service, child_environment, database_server, uv

from tests.conftest import Make
from tests.options import ALL_COMBINATIONS, SWITCH_COMBINATIONS, Answers, cases

pytestmark = pytest.mark.generated

POSTGRESQL = {**SWITCH_COMBINATIONS[0], "database": "postgresql"}
OTHER_LICENSES = [answers for answers in ALL_COMBINATIONS if answers["license"] != "MIT"]


@pytest.fixture(
    scope="module",
    params=[
        *cases([*SWITCH_COMBINATIONS, POSTGRESQL]),
        *cases(OTHER_LICENSES, pytest.mark.exhaustive),
    ],
)
def project(request: pytest.FixtureRequest, install: Make) -> Path:
    """One generated service with its environment."""
    answers: Answers = request.param
    return install(**answers)


def workflow_commands(project: Path) -> list[str]:
    """Return the `run:` steps of the project's own workflow, in order."""
    workflow = yaml.safe_load((project / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    return [step["run"] for step in steps if "run" in step]


def test_its_own_workflow_passes_and_leaves_nothing(project: Path) -> None:
    commands = workflow_commands(project)
    assert [command for command in commands if "pre-commit" in command or "pytest" in command]
    for command in commands:
        print(f"+ {command}", flush=True)
        subprocess.run(["bash", "-ec", command], cwd=project, env=child_environment(), check=True)
    status = ["git", "status", "--porcelain"]
    left = subprocess.run(status, cwd=project, check=True, capture_output=True, text=True).stdout
    assert [line for line in left.splitlines() if not line.startswith("A ")] == []


def test_it_starts_and_answers(project: Path) -> None:
    with database_server(project) as variables, Service(project, variables) as service:
        service.get("/health/live")
        service.get("/health/ready")
        paths = service.get("/openapi.json")["paths"]
    assert {"/health/live", "/health/ready"} <= set(paths)
    assert ("/reports" in paths) is (project / "app" / "features" / "reports").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to answer")
def test_it_ends_cleanly_when_asked(project: Path) -> None:
    with database_server(project) as variables, Service(project, variables) as service:
        assert service.stop() in {0, -15}


@pytest.mark.exhaustive
def test_the_oldest_versions_allowed_work(bake: Make, tmp_path: Path) -> None:
    project = tmp_path / "my-service"
    shutil.copytree(bake(), project)
    uv("sync", "--quiet", "--resolution", "lowest-direct", project=project)
    uv("run", "--no-sync", "pytest", project=project)


def test_the_demo_runs_from_end_to_end(tmp_path: Path) -> None:
    demo = [sys.executable, str(ROOT / "scripts" / "demo.py"), str(tmp_path)]
    environment = {**os.environ, "DEMO_EXIT": "1"}
    for _ in range(2):  # the second run finds the project of the first
        result = subprocess.run(
            demo, env=environment, check=False, capture_output=True, encoding="utf-8"
        )
        assert result.returncode == 0, result.stdout + result.stderr
    assert "Subject: " in result.stdout
    assert "/docs" in result.stdout
