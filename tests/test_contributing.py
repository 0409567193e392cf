"""The five steps of CONTRIBUTING.md: they add an option, and the tests check it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bake import PROJECT_FOLDER, ROOT, copy_template

TABLE = "test_every_path_to_remove_is_in_the_template"
COMBINATIONS = "tests/test_combinations.py"
RINGS = [COMBINATIONS, "tests/test_repository.py", f"tests/test_hooks.py::{TABLE}"]
HELLO = '''"""Says hello."""

from fastapi import APIRouter

from app.feature import Feature
from app.settings import Settings

router = APIRouter(tags=["hello"])


@router.get("/hello", summary="Say hello")
async def hello() -> str:
    """Say it."""
    return "hello"


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    return Feature(name="hello", router=router)
'''


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A clone of the template, to be changed."""
    clone = copy_template(tmp_path / "template")
    subprocess.run(["git", "init", "--quiet"], cwd=clone, check=True)
    return clone


def put_before(path: Path, mark: str, text: str) -> None:
    """Insert a text before the first occurrence of `mark`."""
    old = path.read_text(encoding="utf-8")
    assert mark in old, f"{path} has no {mark!r}"
    path.write_text(old.replace(mark, text + mark, 1), encoding="utf-8")


def add_option(template: Path) -> None:
    """Follow the steps of the page in their order."""
    service = template / PROJECT_FOLDER
    questions = template / "cookiecutter.json"
    put_before(questions, '  "include_example": true', '  "include_hello": true,\n')
    put_before(questions, '    "include_example": "', '    "include_hello": "Say hello?",\n')

    feature = service / "app" / "features" / "hello"
    feature.mkdir()
    (feature / "__init__.py").write_text(HELLO, encoding="utf-8")

    removed = '    ("include_hello", False): ["app/features/hello"],\n'
    hook = template / "hooks" / "post_gen_project.py"
    put_before(hook, '    ("include_example", False)', removed)
    readme = service / "README.md"
    guard = "# {% if cookiecutter.include_hello %}\napp/features/hello/   /hello\n# {% endif %}\n"
    put_before(readme, "app/tasks/            background", guard)

    put_before(
        template / "tests" / "files.txt",
        "app/features/health/__init__.py",
        "app/features/hello/__init__.py include_hello\n",
    )
    tests = template / "tests" / "test_combinations.py"
    put_before(tests, '    "include_example": r"', '    "include_hello": r"features/hello",\n')

    row = "| `include_hello` | `true` | without it: no greeting |\n"
    put_before(template / "README.md", "| `include_example` |", row)


def run(template: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run tests of the changed template."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # Tests that generate projects or start xdist would show nothing more about the option.
    command += ["-m", "not generated", "-k", "not cookiecutter_writes and not of_a_group"]
    return subprocess.run(
        [*command, *tests],
        cwd=template,
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name},
        capture_output=True,
        check=False,
        encoding="utf-8",
    )


def test_an_option_added_by_the_five_steps_is_tested_in_every_combination(template: Path) -> None:
    add_option(template)
    result = run(template, *RINGS, "tests/test_as_it_lies.py")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no-hello" not in result.stdout


def test_a_forgotten_step_fails_the_tests(template: Path) -> None:
    add_option(template)
    hook = template / "hooks" / "post_gen_project.py"
    lines = hook.read_text(encoding="utf-8").splitlines(keepends=True)
    hook.write_text("".join(line for line in lines if "hello" not in line), encoding="utf-8")
    result = run(template, f"{COMBINATIONS}::test_the_files_are_exactly_the_expected_ones")
    assert result.returncode == 1
    assert "app/features/hello/__init__.py" in result.stdout


def test_the_page_has_five_steps() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page.split("## Add an option in five steps")[1].split("\n## ")[0]
    assert [line[:2] for line in section.splitlines() if line[:2].endswith(".")] == [
        f"{number}." for number in range(1, 6)
    ]
    for name in ("cookiecutter.json", "__prompts__", "post_gen_project.py", "files.txt", "TRACES"):
        assert name in section
