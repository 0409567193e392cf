"""Answers made up by Hypothesis: they give a project that contains them, or none at all."""

from __future__ import annotations

import ast
import json
import re
import shutil
import tomllib
from pathlib import Path, PurePosixPath

import pytest
import yaml
from bake import generate
from cookiecutter.exceptions import CookiecutterException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from tests.conftest import Make
from tests.options import COVER, DEFAULTS, MAXIMAL, OPTIONS, Answers, title
from tests.rendering import Rendering
from tests.source_tree import files, read, read_all

# One half is what people type, the other half tries to break out of quotes, lines and templates.
SYNTAX = r"""\ \\ " ' ''' # {{ }} { } {% %} ${x} $(id) `id` <!-- ]]> : - & * !! %s @ = , |"""
NASTY = st.sampled_from([*SYNTAX.split(), "# {%", ": ", "- ", "\n", "\t", "\0", "\u2028", '"""'])
TEXT = st.one_of(
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1),
    st.lists(st.one_of(NASTY, st.text(max_size=5)), min_size=1, max_size=6).map("".join),
)
SLUG = st.one_of(st.from_regex(r"[a-z][a-z0-9]{0,8}([-_][a-z0-9]{1,6}){0,2}", fullmatch=True), TEXT)
ANSWERS = st.fixed_dictionaries(
    {name: st.sampled_from(values) for name, values in OPTIONS.items()}
    | dict.fromkeys(("project_name", "description", "author_name"), TEXT)
    | {
        "project_slug": SLUG,
        "author_email": st.one_of(st.just("me@example.com"), st.emails(), TEXT),
    }
)
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def check(answers: Answers, template: Path, config: Path, folder: Path) -> None:
    """Generate a project and check its files, or check that nothing was written."""
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    try:
        project = generate(template, output, config, answers)
    except (CookiecutterException, TemplateError, OSError, ValueError):
        assert list(output.iterdir()) == []
        assert list(folder.iterdir()) == [output]
        return
    assert project.parent == output
    for name in files(project):
        parse(name, read(project, name))
    metadata = tomllib.loads(read(project, "pyproject.toml"))["project"]
    assert project.name == answers["project_slug"]
    assert metadata["name"] == f"{project.name}-app"
    assert metadata["description"] == answers["description"]
    assert metadata["authors"] == [
        {"name": answers["author_name"], "email": answers["author_email"]}
    ]
    assert read(project, "README.md").startswith(f"# {answers['project_name']}\n")


def parse(name: str, text: str) -> None:
    match PurePosixPath(name).suffix:
        case ".py":
            ast.parse(text)
        case ".toml":
            tomllib.loads(text)
        case ".json":
            json.loads(text)
        case ".yml" | ".yaml":
            list(yaml.safe_load_all(text))


@settings(max_examples=30, deadline=None, suppress_health_check=CHECKS)
@given(answers=ANSWERS)
def test_any_answers_give_their_project_or_none(
    answers: Answers, template: Path, config: Path, tmp_path: Path
) -> None:
    check(answers, template, config, tmp_path / "here")


@pytest.mark.exhaustive
@settings(max_examples=1000, deadline=None, suppress_health_check=CHECKS)
@given(answers=ANSWERS)
def test_many_answers_give_their_project_or_none(
    answers: Answers, template: Path, config: Path, tmp_path: Path
) -> None:
    check(answers, template, config, tmp_path / "here")


def test_paths_are_legal_on_windows(template: Path, tmp_path: Path) -> None:
    rendering = Rendering(template, tmp_path)
    illegal = re.compile(r'(?i)[<>:"|?*\\\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)')
    for answers in COVER:
        names = list(rendering.project(answers))
        assert [n for n in names if any(map(illegal.search, n.split("/")))] == []
        assert len({name.lower() for name in names}) == len(names)
        assert max(map(len, names)) < 120, "Windows allows 260 characters for a path"


def test_no_file_is_executable(bake: Make) -> None:
    project = bake(**MAXIMAL)
    assert [name for name in files(project) if (project / name).stat().st_mode & 0o111] == []


@pytest.mark.parametrize("answers", [DEFAULTS, COVER[-1]], ids=title)
def test_the_same_answers_give_the_same_bytes(
    template: Path, config: Path, bake: Make, tmp_path: Path, answers: Answers
) -> None:
    again = generate(template, tmp_path, config, answers)
    assert read_all(again) == read_all(bake(**answers))
