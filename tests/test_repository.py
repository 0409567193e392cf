"""Promises of the repository: pinned actions, a correct table of options, existing targets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bake import PROJECT_FOLDER, ROOT
from service import uv

from tests.interpreters import SUPPORTED
from tests.options import ASKED, QUESTIONS

SERVICE = ROOT / PROJECT_FOLDER
WORKFLOWS = [folder / ".github" / "workflows" / "ci.yml" for folder in (ROOT, SERVICE)]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=["template", "service"])
def test_every_action_is_pinned_by_its_commit(workflow: Path) -> None:
    used = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))
    assert used
    assert [
        line for line in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", line)
    ] == []


def test_both_workflows_use_the_same_actions() -> None:
    template, service = (
        set(re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))) for path in WORKFLOWS
    )
    assert service == template


@pytest.mark.parametrize("name", [".github/workflows/ci.yml", ".gitlab-ci.yml"])
def test_a_service_is_tested_on_every_python_that_it_supports(name: str) -> None:
    tested = re.findall(r"(?i)python(?:-version)?: \[(.*)\]", (SERVICE / name).read_text("utf-8"))
    assert [re.findall(r"[\d.]+", versions) for versions in tested] == [list(SUPPORTED)]


def test_every_noqa_names_its_rule_and_gives_a_reason() -> None:
    files = [path for folder in (SERVICE, ROOT / "tests") for path in folder.rglob("*.py")]
    texts = (path.read_text(encoding="utf-8") for path in files if ".venv" not in path.parts)
    used = [line for text in texts for line in re.findall(r"# noqa[:] .*", text)]
    assert used
    assert [line for line in used if not re.match(r"# noqa[:] [A-Z0-9, ]+ - \w", line)] == []


def test_compose_appends_nothing_to_a_list() -> None:
    """A list may be written as a,b or as ["a","b"], so compose cannot append to it."""
    compose = (SERVICE / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{?(\w+)", compose))
    assert used == {"API_KEYS", "PORT", "POSTGRES_PASSWORD"}


@pytest.mark.generated
@pytest.mark.parametrize("folder", [ROOT, SERVICE], ids=["template", "service"])
def test_an_old_pre_commit_reads_the_configuration(folder: Path) -> None:
    """The generation uses the pre-commit on PATH, which is 3.6.2 on Ubuntu 24.04."""
    program = ["tool", "run", "--from", "pre-commit==3.6.2", "pre-commit"]
    uv(*program, "validate-config", ".pre-commit-config.yaml", project=folder)


def test_every_question_has_a_prompt() -> None:
    assert set(QUESTIONS["__prompts__"]) == set(ASKED)


def test_the_readme_lists_every_option_with_its_default() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", readme, flags=re.MULTILINE))
    assert set(rows) == set(ASKED)
    for name, default in ASKED.items():
        first = default[0] if isinstance(default, list) else default
        shown = str(first).lower() if isinstance(first, bool) else str(first)
        assert f"`{shown}`" in rows[name] or "{{" in shown


def test_the_readme_quotes_the_latest_benchmark() -> None:
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    (day,) = re.findall(r"Written by `make bench` on ([\d-]+)", results)
    assert f"run of {day}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_make_without_a_target_lists_all_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    result = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True)
    targets = re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE)
    assert re.findall(r"^  make ([\w-]+)", result.stdout, flags=re.MULTILINE) == targets
    assert {"demo", "test"} < set(targets)


def test_the_commands_of_contributing_are_targets_that_pass_on_their_options() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    commands = re.findall(r"(?m)^\$ (make .*?)(?: +#|$)", page)
    assert any("ARGS" in command for command in commands)
    for command in commands:
        dry = ["bash", "-c", command.replace("make", "make --dry-run", 1)]
        result = subprocess.run(dry, cwd=ROOT, check=True, capture_output=True, text=True)
        _, _, options = command.partition("ARGS=")
        assert options.strip("\"'") in result.stdout


def test_no_module_shadows_one_of_the_standard_library() -> None:
    """A script imports modules from its own folder first."""
    names = {path.stem for path in SERVICE.rglob("*.py")}
    folders = {path.parent.name for path in SERVICE.rglob("*.py")}
    assert (names | folders) & sys.stdlib_module_names == set()


GROUP = """
import pytest

@pytest.mark.xdist_group("services")
@pytest.mark.parametrize("n", range(6))
def test_it(n, worker_id):
    print(worker_id)
"""


def test_the_tests_of_a_group_run_in_one_process(tmp_path: Path) -> None:
    """They share what is made once per process, above all an installed service."""
    (tmp_path / "test_group.py").write_text(GROUP, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-rP"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name},
        check=True,
        capture_output=True,
        text=True,
    )
    assert len(set(re.findall(r"(?m)^gw\d$", result.stdout))) == 1
