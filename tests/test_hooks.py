"""The hooks: what they remove, what they keep, and what they set up and say at the end."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bake import BARE, PROJECT_FOLDER, ROOT, cookiecutter_command, generate
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter
from service import uv

from tests.conftest import Make
from tests.options import MAXIMAL, MINIMAL, SWITCHES
from tests.source_tree import files


def read_hook(name: str, tmp_path: Path) -> dict[str, Any]:
    """Return the names that a hook defines when it is rendered without answers."""
    text = (ROOT / "hooks" / f"{name}.py").read_text(encoding="utf-8")
    for answers in ("{{ cookiecutter | tojson }}", "{{ (_cookiecutter | default({})) | tojson }}"):
        text = text.replace(answers, "{}")
    rendered = tmp_path / f"{name}.py"
    rendered.write_text(text, encoding="utf-8")
    return runpy.run_path(str(rendered))


def test_every_path_to_remove_is_in_the_template(template: Path, tmp_path: Path) -> None:
    table = read_hook("post_gen_project", tmp_path)["REMOVE"]
    paths = [path for paths in table.values() for path in paths]
    assert {option for option, _ in table} >= set(SWITCHES)
    assert [path for path in paths if not (template / PROJECT_FOLDER / path).exists()] == []


@pytest.mark.parametrize("slug", ["fastapi", "pydantic_core"])
def test_a_slug_may_be_the_name_of_a_dependency(bake: Make, tmp_path: Path, slug: str) -> None:
    project = tmp_path / slug
    shutil.copytree(bake(project_slug=slug, **MAXIMAL), project)
    uv("lock", "--quiet", project=project)
    locked = tomllib.loads((project / "uv.lock").read_text(encoding="utf-8"))["package"]
    name = f"{slug}-app".replace("_", "-")
    assert [package["name"] for package in locked if package["name"].endswith("-app")] == [name]


def test_a_path_that_does_not_exist_stops_the_generation(
    template: Path, config: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "template"
    shutil.copytree(template, broken)
    shutil.rmtree(broken / PROJECT_FOLDER / "app" / "features" / "metrics")
    with pytest.raises(FailedHookException):
        generate(broken, tmp_path / "output", config, {"include_metrics": False})
    assert list((tmp_path / "output").iterdir()) == []


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of each file in a folder."""
    return {name: (folder / name).read_bytes() for name in files(folder)}


@pytest.mark.parametrize("ahead", [0, 3600])
def test_writing_over_a_project_keeps_the_files_of_the_user(
    template: Path, config: Path, bake: Make, tmp_path: Path, ahead: int
) -> None:
    """Even if they are dated `ahead` seconds in the future, as by the clock of a network share."""
    project = tmp_path / "my-service"
    shutil.copytree(bake(), project)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "theirs.py").write_text("theirs")
    (project / "tests" / "tasks" / "celery").symlink_to(outside, target_is_directory=True)
    for name in (".gitlab-ci.yml", "app/features/celery/mine.py", "app/db/backend.py"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("mine")
        os.utime(project / name, (time.time() + ahead,) * 2)
    before = contents(project)

    again = ["--overwrite-if-exists", "--skip-if-file-exists"]
    subprocess.run(cookiecutter_command(template, tmp_path, config, *again), check=True)

    assert contents(project) == before
    assert (outside / "theirs.py").read_text() == "theirs"


def test_writing_over_a_project_with_other_answers_gives_their_project(
    bake: Make, template: Path, config: Path, tmp_path: Path
) -> None:
    shutil.copytree(bake(**MAXIMAL), tmp_path / "my-service")
    cookiecutter(
        str(template),
        no_input=True,
        extra_context=MINIMAL,
        output_dir=str(tmp_path),
        config_file=str(config),
        overwrite_if_exists=True,
    )
    assert contents(tmp_path / "my-service") == contents(bake(**MINIMAL))


@pytest.mark.parametrize("has_uv", [True, False])
def test_the_next_steps_begin_with_uv_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_uv: bool
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UV", "/somewhere/uv") if has_uv else monkeypatch.delenv("UV", raising=False)
    steps = read_hook("post_gen_project", tmp_path)["next_steps"](Path("/elsewhere/my-service"))
    assert ("pip install uv" in steps) is not has_uv
    assert 'cd "/elsewhere/my-service"' in steps


def test_the_next_steps_name_the_folder_relative_to_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWD", "/here")
    steps = read_hook("post_gen_project", tmp_path)["next_steps"](Path("/here/my-service"))
    assert "cd my-service\n" in steps


@pytest.fixture
def generate_with(
    template: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., tuple[Path, str]]:
    """A function that generates a project for a user with only these programs and variables."""
    programs = tmp_path / "programs"
    programs.mkdir()
    python = Path(sys.base_prefix, "bin", "python3")
    (programs / "python3").symlink_to(python)  # uv searches PATH for it
    output = tmp_path / "output"

    def make(*names: str, **variables: str) -> tuple[Path, str]:
        for name in names:
            (programs / name).symlink_to(str(shutil.which(name)))
        for name in (*BARE, "UV"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PATH", str(programs))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        project = cookiecutter(
            str(template), no_input=True, output_dir=str(output), config_file=str(config)
        )
        shown = capfd.readouterr().out
        assert shown.isascii()
        return Path(project), shown

    return make


def test_a_new_project_is_a_repository_with_a_lock_file(
    generate_with: Callable[..., tuple[Path, str]],
) -> None:
    project, shown = generate_with("git", "uv", "pre-commit")
    assert (project / ".git" / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert (project / ".git" / "hooks" / "pre-commit").exists()
    assert list((project / ".git" / "refs" / "heads").iterdir()) == [], "nothing is committed"
    assert 'name = "fastapi"' in (project / "uv.lock").read_text(encoding="utf-8")
    assert shown.endswith(
        """
    uv run fastapi dev             # http://127.0.0.1:8000/docs
    uv run pytest
    git add --all && git commit    # you make the first commit

    git repository: created
    pre-commit:     installed
    uv.lock:        written

"""
    )


def test_the_next_steps_are_shown_before_anything_slow_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = read_hook("post_gen_project", tmp_path)["main"]
    (tmp_path / "started").touch()
    shown = []

    def summary() -> str:
        shown.append(capsys.readouterr().out)
        return ""

    tables = {"REMOVE": {}, "RENAME": {}, "STARTED": tmp_path / "started"}
    others = {"ANSWERS": {"_output_dir": "."}, "BARE": "not set", "summary": summary}
    for name, value in {**tables, **others}.items():
        monkeypatch.setitem(main.__globals__, name, value)
    main()
    assert "uv run fastapi dev" in shown[0]


def test_without_git_and_uv_a_project_is_generated_and_missing_steps_are_listed(
    generate_with: Callable[..., tuple[Path, str]],
) -> None:
    project, shown = generate_with()
    assert (project / "app" / "main.py").exists()
    assert not (project / ".git").exists()
    assert "git repository: not created (run git init --initial-branch=main)" in shown
    assert "pre-commit:     not installed; run `uv run pre-commit install`" in shown
    assert "uv.lock:        not written; run `uv lock` when online" in shown


def test_without_a_network_the_lock_file_is_left_to_the_user(
    generate_with: Callable[..., tuple[Path, str]], tmp_path: Path
) -> None:
    project, shown = generate_with(
        "git", "uv", UV_OFFLINE="1", UV_CACHE_DIR=str(tmp_path / "cache"), UV_PYTHON=sys.executable
    )
    assert (project / ".git").exists()
    assert not (project / "uv.lock").exists()
    assert "git repository: created" in shown
    assert "uv.lock:        not written; run `uv lock` when online" in shown


def test_a_repository_around_the_project_is_left_alone(
    generate_with: Callable[..., tuple[Path, str]], tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    project, shown = generate_with("git")
    assert not (project / ".git").exists()
    assert "git repository: already there" in shown


def test_a_repository_that_environment_variables_name_is_left_alone(
    generate_with: Callable[..., tuple[Path, str]], tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    subprocess.run(["git", "init", "--quiet", str(theirs)], check=True)
    before = contents(theirs)
    variables = {"GIT_DIR": str(theirs / ".git"), "UV_PROJECT": str(theirs)}
    project, _ = generate_with("git", "uv", "pre-commit", **variables)
    assert contents(theirs) == before
    assert (project / ".git" / "hooks" / "pre-commit").exists()
    assert (project / "uv.lock").exists()


def test_the_lock_file_of_a_workspace_around_the_project_is_left_alone(
    generate_with: Callable[..., tuple[Path, str]], tmp_path: Path
) -> None:
    workspace = tmp_path / "pyproject.toml"
    workspace.write_text('[tool.uv.workspace]\nmembers = ["output/*"]\n')
    project, shown = generate_with("uv")
    assert not (tmp_path / "uv.lock").exists()
    assert not (project / "uv.lock").exists()
    assert "uv.lock:        left to the uv workspace around this folder" in shown


def test_a_program_that_hangs_is_given_up(tmp_path: Path) -> None:
    attempt = read_hook("post_gen_project", tmp_path)["attempt"]
    assert attempt(sys.executable, "-c", "")
    assert not attempt(sys.executable, "-c", "import signal; signal.pause()", seconds=0.1)
