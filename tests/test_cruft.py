"""Projects that are created by cruft, changed by their users, and updated by cruft."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cruft
import pytest
from bake import PROJECT_FOLDER, copy_template

from tests.conftest import Make
from tests.options import DEFAULTS, MAXIMAL, MINIMAL, Answers, title
from tests.source_tree import files, read

TEXTS = {"project_name": 'It\'s a "test" \\ 天气', "project_slug": "my-service"}


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "a version")


def texts(project: Path) -> dict[str, str]:
    """Return the text of every file but git's own."""
    return {name: read(project, name) for name in files(project) if not name.startswith(".git/")}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of the template with a first version."""
    folder = copy_template(tmp_path / "template")
    commit(folder)
    return folder


def create(template: Path, answers: Answers) -> Path:
    """Create a project, change it as its users do, and commit it."""
    context = {**answers, **TEXTS}
    project: Path = cruft.create(str(template), template.parent, extra_context=context)
    assert not (project / ".git").exists(), "the hook makes no repository for cruft"
    assert (project / ".cruft.json").read_text(encoding="utf-8").endswith("}\n")
    work_on(project)
    commit(project)
    return project


def work_on(project: Path) -> None:
    """Change, add and delete files, as users do."""
    readme = project / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + "\n## Ours\n", encoding="utf-8")
    feature = project / "app" / "features" / "orders"
    feature.mkdir()
    (feature / "__init__.py").write_text('"""Orders."""\n', encoding="utf-8")
    (project / "uv.lock").write_text("# theirs\n", encoding="utf-8")
    (project / "tests" / "test_shutdown.py").unlink()


def next_version(template: Path) -> None:
    """Release a version with changed lines, a new file, a deleted file and a new question."""
    service = template / PROJECT_FOLDER
    main = service / "app" / "main.py"
    main.write_text(main.read_text(encoding="utf-8") + "# the next version\n", encoding="utf-8")
    for changed in ("pyproject.toml", "tests/test_shutdown.py"):
        path = service / changed
        path.write_text(path.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    (service / "app" / "added.py").write_text('"""New."""\n', encoding="utf-8")
    (service / "tests" / "test_security.py").unlink()
    questions = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    answers = {"include_more": True, **questions}
    (template / "cookiecutter.json").write_text(json.dumps(answers), encoding="utf-8")
    commit(template)


@pytest.mark.parametrize(
    "answers",
    [
        MAXIMAL,
        pytest.param(MINIMAL, marks=pytest.mark.exhaustive),
        pytest.param(DEFAULTS, marks=pytest.mark.exhaustive),
    ],
    ids=title,
)
def test_an_update_brings_changes_of_the_template_and_keeps_those_of_users(
    repository: Path, answers: Answers
) -> None:
    project = create(repository, answers)
    assert cruft.check(project)
    next_version(repository)
    assert not cruft.check(project)

    assert cruft.update(project)

    names = files(project)
    assert [name for name in names if name.endswith((".rej", ".orig"))] == []
    assert {"app/added.py", "app/features/orders/__init__.py"} <= set(names)
    assert {"tests/test_security.py", "tests/test_shutdown.py"}.isdisjoint(names)
    assert read(project, "app/main.py").endswith("# the next version\n")
    assert read(project, "README.md").endswith("## Ours\n")
    assert read(project, "uv.lock") == "# theirs\n"
    assert read(project, "README.md").startswith(f"# {TEXTS['project_name']}\n")
    assert cruft.check(project)


def test_an_update_to_an_equal_version_changes_nothing(repository: Path) -> None:
    project = create(repository, DEFAULTS)
    before = texts(project)
    commit(repository)  # a version without changes
    assert cruft.update(project)
    after = texts(project)
    assert {name for name in before if before[name] != after[name]} <= {".cruft.json"}
    assert after.keys() == before.keys()


def test_an_update_with_other_answers_gives_their_project(repository: Path, bake: Make) -> None:
    project = create(repository, DEFAULTS)
    changed = {**MAXIMAL, "include_dashboard": False, "include_example": False, "license": "MIT"}

    update = ["-m", "cruft", "update", "--skip-apply-ask", "--variables-to-update"]
    subprocess.run([sys.executable, *update, json.dumps(changed)], cwd=project, check=True)

    updated, expected = texts(project), texts(bake(**changed, **TEXTS))
    different = {name for name in updated | expected if updated.get(name) != expected.get(name)}
    of_users = {"README.md", "app/features/orders/__init__.py", "tests/test_shutdown.py"}
    assert different - {".cruft.json", "uv.lock"} == of_users
