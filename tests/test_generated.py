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
from tests.interpreters import INTERPRETERS, NEWEST, OLDEST
from tests.options import COVER, DEFAULTS, MAXIMAL, MINIMAL, Answers, title
from tests.workflows import jobs

pytestmark = pytest.mark.generated

Case = tuple[Answers, str]

# Every run tests three projects; `make test-all` tests the whole cover, each on one interpreter.
FIRST: list[Case] = [(MAXIMAL, OLDEST), (DEFAULTS, NEWEST), (MINIMAL, NEWEST)]
# The default service runs all its tests; the two others only these, except in `make test-all`.
OWN_TESTS = {
    title(MAXIMAL): "tests/db tests/tasks",
    title(MINIMAL): "tests/features tests/test_feature.py tests/test_settings.py",
}
ALL: list[Case] = list(zip(COVER, itertools.cycle([OLDEST, NEWEST]), strict=False))


def parameter(answers: Answers, python: str, *marks: pytest.MarkDecorator) -> object:
    """Return a parameter; one worker runs all tests of a project, which is installed once."""
    name = f"{title(answers)}-{python}"
    group = pytest.mark.xdist_group(name)
    return pytest.param((answers, python), id=name, marks=[group, *marks])


@pytest.fixture(
    scope="module",
    params=[
        *(parameter(*case) for case in FIRST),
        *(parameter(*case, pytest.mark.exhaustive) for case in ALL if case not in FIRST),
    ],
)
def case(request: pytest.FixtureRequest) -> Case:
    """The answers, and the version of Python to run the service on."""
    answers, python = request.param
    return answers, python


@pytest.fixture(scope="module")
def project(case: Case, install: Make) -> Path:
    """One generated service with its environment."""
    answers, python = case
    return install(python, **answers)


def run(commands: list[str], project: Path, python: str, **variables: str) -> None:
    """Run commands as CI does, on an interpreter of this machine."""
    for command in commands:
        print(f"+ {command}", flush=True)
        environment = child_environment(UV_PYTHON=INTERPRETERS[python], **variables)
        subprocess.run(["bash", "-ec", command], cwd=project, env=environment, check=True)


def fast_coverage(project: Path, python: str, folder: Path) -> dict[str, str]:
    """Let coverage use `sys.monitoring`, which takes half the time; Python 3.11 does not have it.

    test_own_feature.py shows that the project's own setting of coverage counts correctly.
    """
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    fast = text.replace('concurrency = ["thread", "greenlet"]', 'core = "sysmon"')
    assert fast != text
    settings = folder / "pyproject.toml"
    settings.write_text(fast, encoding="utf-8")
    return {} if python == "3.11" else {"COVERAGE_RCFILE": str(settings)}


def narrowed(command: str, tests: str) -> str:
    """Return a command that runs only `tests`, if it runs tests at all."""
    return re.sub(r"pytest --cov\S*( --cov\S+)*", f"pytest {tests}", command) if tests else command


def has_docker() -> bool:
    """Return whether images can be built on this machine."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_the_workflow_of_a_service_passes_and_leaves_no_files(
    request: pytest.FixtureRequest, case: Case, project: Path, bake: Make, tmp_path: Path
) -> None:
    answers, python = case
    coverage = fast_coverage(project, python, tmp_path)
    tests = "" if request.config.option.markexpr == "" else OWN_TESTS.get(title(answers), "")
    workflow = jobs(project) or jobs(bake(**{**answers, "ci_provider": "github"}))
    assert any("pytest" in command for job in workflow.values() for command in job)
    for name, commands in workflow.items():
        if name != "build":  # which has a test of its own
            run([narrowed(command, tests) for command in commands], project, python, **coverage)
    status = ["git", "status", "--porcelain"]
    changes = subprocess.run(status, cwd=project, check=True, capture_output=True, text=True).stdout
    assert [line for line in changes.splitlines() if not line.startswith("A ")] == []


@pytest.mark.skipif(not has_docker(), reason="needs a Docker engine, to build and start the image")
def test_the_workflow_of_a_service_builds_the_image(case: Case, project: Path) -> None:
    run(jobs(project).get("build", []), project, case[1])


def test_the_service_starts_works_and_stops_cleanly(project: Path) -> None:
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
    if sys.platform != "win32":  # Windows has no SIGTERM
        assert code in {0, -15}


def test_the_proofs_of_the_chosen_options_are_collected(
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
def test_the_oldest_allowed_dependencies_work(bake: Make, tmp_path: Path) -> None:
    project = tmp_path / "my-service"
    shutil.copytree(bake(), project)
    uv("sync", "--quiet", "--resolution", "lowest-direct", project=project)
    uv("run", "--no-sync", "pytest", project=project)


def test_the_demo_runs_from_end_to_end(tmp_path: Path) -> None:
    old_mail = tmp_path / "my-service" / "data" / "outbox" / "0.eml"
    old_mail.parent.mkdir(parents=True)
    old_mail.touch()
    demo = [sys.executable, str(ROOT / "scripts" / "demo.py"), str(tmp_path)]
    foreign = {"DATABASE_URL": "mysql://of/another/service", "API_KEYS": "of another service"}
    environment = {**os.environ, **foreign, "DEMO_EXIT": "1"}
    result = subprocess.run(
        demo, env=environment, check=False, capture_output=True, encoding="utf-8"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert not old_mail.exists()
    assert "Subject: " in result.stdout
    assert "/docs" in result.stdout
