"""The tables of the hooks hold against the template that they speak of."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bake import PROJECT_FOLDER, ROOT, cookiecutter_command

from tests.conftest import Make
from tests.options import SWITCHES
from tests.source_tree import requirements


def read_hook(name: str, tmp_path: Path) -> dict[str, Any]:
    """Return what a hook defines, with no answers in it."""
    text = (ROOT / "hooks" / f"{name}.py").read_text(encoding="utf-8")
    for answers in ("{{ cookiecutter | tojson }}", "{{ (_cookiecutter | default({})) | tojson }}"):
        text = text.replace(answers, "{}")
    rendered = tmp_path / f"{name}.py"
    rendered.write_text(text, encoding="utf-8")
    return runpy.run_path(str(rendered))


def test_every_path_to_remove_is_in_the_template(template: Path, tmp_path: Path) -> None:
    table = read_hook("post_gen_project", tmp_path)["REMOVE"]
    paths = [path for paths in table.values() for path in paths]
    assert {option for option, _ in table if not option.startswith("__")} == set(SWITCHES)
    assert [path for path in paths if not (template / PROJECT_FOLDER / path).exists()] == []


def test_every_declared_dependency_is_refused_as_a_slug(bake: Make, tmp_path: Path) -> None:
    refused = read_hook("pre_gen_project", tmp_path)["DEPENDENCIES"]
    needed, for_development = requirements(bake())
    assert (needed | for_development) - refused == set()


def test_a_path_that_is_not_there_stops_the_generation(
    template: Path, config: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "template"
    shutil.copytree(template, broken)
    shutil.rmtree(broken / PROJECT_FOLDER / "app" / "features" / "metrics")
    result = subprocess.run(
        cookiecutter_command(broken, tmp_path / "output", config, "include_metrics=no"),
        capture_output=True,
        check=False,
    )
    assert result.returncode == 1
    assert list((tmp_path / "output").iterdir()) == []


@pytest.mark.parametrize("has_uv", [True, False])
def test_the_way_to_uv_is_shown_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_uv: bool
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UV", "/somewhere/uv") if has_uv else monkeypatch.delenv("UV", raising=False)
    steps = read_hook("post_gen_project", tmp_path)["next_steps"](Path("/elsewhere/my-service"))
    assert ("pip install uv" in steps) is not has_uv
    assert 'cd "/elsewhere/my-service"' in steps


def test_the_folder_is_named_from_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWD", "/here")
    steps = read_hook("post_gen_project", tmp_path)["next_steps"](Path("/here/my-service"))
    assert "cd my-service\n" in steps
