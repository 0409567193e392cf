"""Free-text answers appear unchanged in the project, or the command that generates refuses them."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
from bake import cookiecutter_command, generate
from cookiecutter.exceptions import FailedHookException

from tests.conftest import Make
from tests.options import OPTIONS
from tests.source_tree import files, read

EXACT = {
    "quotes": "The \"best\" 'service'",
    "backslashes": r"C:\new\tables \\ \" \u0041",
    "emoji": "Rockets \N{ROCKET} and families \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "CJK": "\u5929\u6c14\u670d\u52a1\u3000\u30c6\u30b9\u30c8",
    "right to left": "\u05e9\u05dc\u05d5\u05dd",
    "markup": "<b>&amp;</b> # not a comment % $HOME `x` [a](b) *c* _d_",
    "commas and equals": "a = 1, b: c; - d",
}


@pytest.mark.parametrize(
    ("text", "license_name"), [*zip(EXACT.values(), cycle(OPTIONS["license"]))], ids=EXACT
)
def test_a_free_text_appears_unchanged(bake: Make, text: str, license_name: str) -> None:
    names = dict.fromkeys(("project_name", "description", "author_name"), text)
    project = bake(**names, project_slug="my-service", license=license_name)
    pyproject = tomllib.loads(read(project, "pyproject.toml"))
    metadata = pyproject["project"]
    assert pyproject["tool"]["service"]["name"] == text
    assert metadata["description"] == text
    assert metadata["authors"] == [{"name": text, "email": "you@example.com"}]
    assert read(project, "README.md").startswith(f"# {text}\n\n{text}\n")
    assert f" {text}\n" in read(project, "LICENSE")


def test_without_a_description_the_readme_begins_with_the_name(bake: Make) -> None:
    assert read(bake(description=""), "README.md").startswith("# My Service\n\n## Start\n")


def test_no_python_file_contains_a_free_text(bake: Make) -> None:
    text = "Zyzzyva"
    project = bake(project_name=text, project_slug="my-service", description=text, author_name=text)
    assert [
        name for name in files(project) if name.endswith(".py") and text in read(project, name)
    ] == []


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Service", "my-service"),
        ("\u5929\u6c14", "tian-qi"),
        ("\N{ROCKET}", "my-service"),
        ("...", "my-service"),
        (" ".join(["long"] * 40), "-".join(["long"] * 10)),
    ],
)
def test_the_slug_is_derived_from_the_name(bake: Make, name: str, slug: str) -> None:
    assert bake(project_name=name).name == slug


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder that already holds a file of the user, inside a folder of this test alone."""
    folder = tmp_path / "above" / "output"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "keep.txt").write_text("keep", encoding="utf-8")
    return folder


def run_cookiecutter(
    template: Path, config: Path, output: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        cookiecutter_command(template, output, config, *options),
        capture_output=True,
        check=False,
        encoding="utf-8",
    )


REFUSED = {
    "empty name": ("project_name=", "project_name is empty"),
    "blank name": ("project_name= \t", "project_name is empty"),
    "empty author": ("author_name=", "author_name is empty"),
    "blank behind": ("author_name=Ann ", "author_name begins or ends with whitespace"),
    "blank before": ("project_name= Weather Desk", "project_name begins or ends with whitespace"),
    "no-break space": ("project_name=Weather Desk\xa0", "project_name begins or ends with white"),
    "tab behind": ("description=a\t", "description begins or ends with whitespace"),
    "blank description": ("description= ", "description begins or ends with whitespace"),
    "newline": ("description=a\nb", "description has a line break"),
    "carriage return": ("author_name=a\rb", "author_name has a line break"),
    "escape": ("project_name=a\x1b[31mb", "project_name has a line break or a control"),
    "delete": ("description=a\x7fb", "description has a line break or a control"),
    "line separator": ("description=a\u2028b", "description has a line break"),
    "next line": ("description=a\u0085b", "description has a line break"),
    "closing brace": ("description=a } b", "description has a brace"),
    "opening brace": ("author_name={", "author_name has a brace"),
    "rendered braces": ("project_name={{ 6 * 7 }}", "project_name has a brace"),
    "block": ("description=# {% raw %}x# {% endraw %}", "description has a brace"),
    "lone surrogate": ("description=a\udc80b", "description has half a character"),
    "no address": ("author_email=you", "author_email is not an address"),
    "no host": ("author_email=you@", "author_email is not an address"),
    "two addresses": ("author_email=a@example.com, b@example.com", "author_email is not"),
    "quote in address": ('author_email="a"@example.com', "author_email is not an address"),
    "newline behind address": ("author_email=a@example.com\n", "author_email is not"),
    "uppercase slug": ("project_slug=MyService", "project_slug is not a plain name"),
    "blank slug": ("project_slug= ", "project_slug is empty"),
    "space in slug": ("project_slug=my service", "project_slug is not a plain name"),
    "dot in slug": ("project_slug=my.service", "project_slug is not a plain name"),
    "newline in slug": ("project_slug=my-service\n", "project_slug is not a plain name"),
    "hyphen first": ("project_slug=-service", "project_slug is not a plain name"),
    "hyphen last": ("project_slug=service-", "project_slug is not a plain name"),
    "accent": ("project_slug=caf\u00e9", "project_slug is not a plain name"),
    "own folder": ("project_slug=tests", "project_slug is the name of a folder"),
    "app": ("project_slug=app", "project_slug is the name of a folder"),
    "module": ("project_slug=json", "project_slug is the name of a Python module"),
    "device": ("project_slug=com1", "project_slug is the name of a device"),
    "maintenance database": ("project_slug=postgres", "project_slug is the name of a database"),
    "template database": ("project_slug=template1", "project_slug is the name of a database"),
    "long slug": ("project_slug=" + "a" * 51, "project_slug is longer than 50"),
    "slug above": ("project_slug=../x", "project_slug is not a plain name"),
    "slug far above": ("project_slug=../x/y", "project_slug is not a plain name"),
    "slug with a slash": ("project_slug=a/b", "project_slug is not a plain name"),
    "slug with slashes": ("project_slug=a/b/c", "project_slug is not a plain name"),
    "slug in a folder that exists": ("project_slug=mine/b", "project_slug is not a plain name"),
    "slug with a backslash": ("project_slug=a\\b", "project_slug is not a plain name"),
}


@pytest.fixture
def refuse(
    template: Path, config: Path, output: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """A function that takes an answer, which must be refused, and returns the shown error."""

    def refuse(answer: str) -> str:
        name, _, value = answer.partition("=")
        # Cookiecutter fails on a slug with slashes, because the hook has removed its folders.
        with pytest.raises((FailedHookException, FileNotFoundError)):
            generate(template, output, config, {name: value})
        return capfd.readouterr().err

    return refuse


@pytest.mark.parametrize(("answer", "message"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_answer_is_refused_and_leaves_no_files(
    refuse: Callable[[str], str], output: Path, answer: str, message: str
) -> None:
    shown = refuse(answer)
    assert message in shown
    assert shown.isascii()
    assert files(output.parents[1]) == ["above/output/mine/keep.txt"]
    assert sorted(path.name for path in output.parents[1].rglob("*")) == [
        "above",
        "keep.txt",
        "mine",
        "output",
    ]


def test_all_problems_are_reported_at_once(template: Path, config: Path, output: Path) -> None:
    answers = ["project_name=", "project_slug=Json", "description=a\nb", "author_email=x"]
    result = run_cookiecutter(template, config, output, *answers)
    lines = [line for line in result.stderr.splitlines() if line.startswith("  - ")]
    assert [line.split()[1] for line in lines] == [
        "project_name",
        "description",
        "author_email",
        "project_slug",
        "project_slug",
    ]


@pytest.mark.parametrize("slug", ["", "mine", "../output"])
def test_a_refused_answer_does_not_harm_existing_files(
    template: Path, config: Path, output: Path, slug: str
) -> None:
    answers = [f"project_slug={slug}", "author_email=wrong"]
    result = run_cookiecutter(template, config, output, "--overwrite-if-exists", *answers)
    assert result.returncode == 1
    assert "author_email is not an address" in result.stderr
    assert files(output) == ["mine/keep.txt"]


def test_an_empty_slug_never_writes_into_the_output_folder(
    template: Path, config: Path, output: Path
) -> None:
    result = run_cookiecutter(template, config, output, "project_slug=")
    assert result.returncode == 1
    assert files(output) == ["mine/keep.txt"]


@pytest.mark.parametrize("answer", ["license=GPL", "include_metrics=maybe"])
def test_an_unknown_choice_generates_nothing(
    template: Path, config: Path, output: Path, answer: str
) -> None:
    assert run_cookiecutter(template, config, output, answer).returncode == 1
    assert files(output) == ["mine/keep.txt"]


@pytest.mark.generated
@pytest.mark.parametrize("version", ["2.1.1", "2.6.0"])
def test_a_cookiecutter_that_reads_no_as_true_is_refused(
    template: Path, config: Path, output: Path, version: str
) -> None:
    _, _, *arguments = cookiecutter_command(template, output, config, "include_example=no")
    program = [os.environ.get("UV", "uv"), "tool", "run", "--from", f"cookiecutter=={version}"]
    result = subprocess.run(
        [*program, *arguments], capture_output=True, check=False, encoding="utf-8"
    )
    assert "include_example is a text, not yes or no; use Cookiecutter 2.7" in result.stderr
    assert files(output) == ["mine/keep.txt"]
