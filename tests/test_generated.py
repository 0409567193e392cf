"""Ring 3: generated services are installed, checked by their own workflow, started and used."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import demo
import proofs
import pytest
from bake import ROOT
from service import Service, child_environment, database_server, uv

from tests.conftest import Make
from tests.interpreters import HERE, NEWEST, OLDEST
from tests.options import COVER, DEFAULTS, MAXIMAL, MINIMAL, Answers, title
from tests.workflows import jobs

pytestmark = pytest.mark.generated

Case = tuple[Answers, str]

# A few projects in every run; in `make test-all` the whole cover, on either interpreter in turn.
FIRST: list[Case] = [(MAXIMAL, OLDEST), (DEFAULTS, NEWEST), (MINIMAL, NEWEST)]
# In every run the defaults do all their tests, the extremes those of what they have or lack.
OWN_TESTS = {
    title(MAXIMAL): "tests/db tests/tasks",
    title(MINIMAL): "tests/features tests/test_feature.py tests/test_settings.py",
}
ALL: list[Case] = list(zip(COVER, itertools.cycle([OLDEST, NEWEST]), strict=False))


def case(answers: Answers, python: str, *marks: pytest.MarkDecorator) -> object:
    """Return a parameter; one worker has all tests of a project, to make it only once."""
    name = f"{title(answers)}-{python}"
    group = pytest.mark.xdist_group(name)
    return pytest.param((answers, python), id=name, marks=[group, *marks])


@pytest.fixture(
    scope="module",
    params=[
        *(case(*chosen) for chosen in FIRST),
        *(case(*chosen, pytest.mark.exhaustive) for chosen in ALL if chosen not in FIRST),
    ],
)
def chosen(request: pytest.FixtureRequest) -> Case:
    """The answers, and the version of Python to run the service on."""
    answers, python = request.param
    return answers, python


@pytest.fixture(scope="module")
def project(chosen: Case, install: Make) -> Path:
    """One generated service with its environment."""
    answers, python = chosen
    return install(python, **answers)


def run(commands: list[str], project: Path, python: str, **variables: str) -> None:
    """Run commands as CI does, on an interpreter of this machine."""
    for command in commands:
        print(f"+ {command}", flush=True)
        environment = child_environment(UV_PYTHON=HERE[python], **variables)
        subprocess.run(["bash", "-ec", command], cwd=project, env=environment, check=True)


def fast_coverage(project: Path, python: str, folder: Path) -> dict[str, str]:
    """Let coverage count by `sys.monitoring`, which Python 3.11 has not: in half of the time.

    That what the project itself says counts right is shown by the coverage in test_own_feature.py.
    """
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    fast = text.replace('concurrency = ["thread", "greenlet"]', 'core = "sysmon"')
    assert fast != text
    settings = folder / "pyproject.toml"
    settings.write_text(fast, encoding="utf-8")
    return {} if python == "3.11" else {"COVERAGE_RCFILE": str(settings)}


def narrowed(command: str, tests: str) -> str:
    """Return a command that runs only some tests, if it runs any."""
    return re.sub(r"pytest --cov\S*( --cov\S+)*", f"pytest {tests}", command) if tests else command


def has_docker() -> bool:
    """Say whether images can be built here."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_its_own_workflow_passes_and_leaves_nothing(
    request: pytest.FixtureRequest, chosen: Case, project: Path, bake: Make, tmp_path: Path
) -> None:
    answers, python = chosen
    coverage = fast_coverage(project, python, tmp_path)
    tests = "" if request.config.option.markexpr == "" else OWN_TESTS.get(title(answers), "")
    its_own = jobs(project) or jobs(bake(**{**answers, "ci_provider": "github"}))
    assert any("pytest" in command for job in its_own.values() for command in job)
    for name, commands in its_own.items():
        if name != "build":  # has a test of its own
            run([narrowed(command, tests) for command in commands], project, python, **coverage)
    status = ["git", "status", "--porcelain"]
    left = subprocess.run(status, cwd=project, check=True, capture_output=True, text=True).stdout
    assert [line for line in left.splitlines() if not line.startswith("A ")] == []


@pytest.mark.skipif(not has_docker(), reason="needs a Docker engine, to build and start the image")
def test_its_own_workflow_builds_the_image(chosen: Case, project: Path) -> None:
    run(jobs(project).get("build", []), project, chosen[1])


def test_it_starts_does_what_it_is_for_and_ends_cleanly(project: Path) -> None:
    outbox = {"EMAIL_BACKEND": "file", "EMAIL_FILE_DIR": demo.OUTBOX.as_posix()}
    with database_server(project) as database, Service(project, {**outbox, **database}) as service:
        service.get("/health/live")
        service.get("/health/ready")
        paths = service.get("/openapi.json")["paths"]
        if (project / demo.SAMPLE).exists():
            report = demo.upload(service, project / demo.SAMPLE, "you@example.com")
            assert demo.await_report(service, report)["statistics"]["rows"] > 0
            assert "you@example.com" in demo.await_mail(service)
        if "/metrics" in paths:
            assert "\nhttp_requests_total{" in service.text("/metrics")
        code = service.stop()
    for feature in ("metrics", "reports"):
        assert (f"/{feature}" in paths) is (project / "app" / "features" / feature).exists()
    if sys.platform != "win32":  # which has no SIGTERM to answer
        assert code in {0, -15}


def test_proofs_are_collected_for_what_it_has(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    database, *others = proofs.databases(project)
    assert others == []
    assert proofs.prove(project, database, "--collect-only", "-q") == 0
    collected = capfd.readouterr().out
    assert "\ntasks/test_limits.py::" in collected
    workers = (project / "app" / "tasks" / "celery").exists()
    assert ("\ntasks/celery/" in collected) is workers
    assert f"\ntasks/durable/test_{database}.py::" in collected


@pytest.mark.exhaustive
def test_the_oldest_versions_allowed_work(bake: Make, tmp_path: Path) -> None:
    project = tmp_path / "my-service"
    shutil.copytree(bake(), project)
    uv("sync", "--quiet", "--resolution", "lowest-direct", project=project)
    uv("run", "--no-sync", "pytest", project=project)


def test_the_demo_runs_from_end_to_end(tmp_path: Path) -> None:
    of_the_last_run = tmp_path / "my-service" / "data" / "outbox" / "0.eml"
    of_the_last_run.parent.mkdir(parents=True)
    of_the_last_run.touch()
    demo = [sys.executable, str(ROOT / "scripts" / "demo.py"), str(tmp_path)]
    theirs = {"DATABASE_URL": "mysql://of/another/service", "API_KEYS": "of another service"}
    environment = {**os.environ, **theirs, "DEMO_EXIT": "1"}
    result = subprocess.run(
        demo, env=environment, check=False, capture_output=True, encoding="utf-8"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert not of_the_last_run.exists()
    assert "Subject: " in result.stdout
    assert "/docs" in result.stdout
