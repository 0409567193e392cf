"""Refuse answers that would give a broken project; print all problems and leave no files behind.

The hook uses only Python 3.10's standard library and ASCII output, because it runs under the
interpreter of Cookiecutter, on consoles that may not support other characters. Cookiecutter renders
this file; answers enter it only in the two JSON literals below.
"""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
# The answers from the command line, before Cookiecutter rendered them; absent under cruft.
GIVEN = json.loads(r"""{{ (_cookiecutter | default({})) | tojson }}""")

TEXTS = ("project_name", "description", "author_name", "author_email")
YES_OR_NO = [name for name in ANSWERS if name.startswith("include_")]
# Tells the second hook, which removes it, which files existed before this run.
STARTED = Path(".cookiecutter-started")
LONGEST_SLUG = 50
SLUG = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")
EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`|~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")

OWN_FOLDERS = frozenset({"app", "data", "migrations", "test", "tests"})
WINDOWS_DEVICES = frozenset(
    {"aux", "con", "nul", "prn"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
)
# Names that the development database cannot have; it has the name of the service.
POSTGRESQL_DATABASES = frozenset({"postgres", "template0", "template1"})


def is_blank(value: str) -> bool:
    """Return whether a text is empty or only whitespace."""
    return not value.strip()


def has_outer_blank(value: str) -> bool:
    """Return whether a text, and so a line of some file, begins or ends with whitespace."""
    return value != value.strip()


def has_control(value: str) -> bool:
    """Return whether a text has a line break or a control character of any kind."""
    return any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} for char in value)


def has_lone_surrogate(value: str) -> bool:
    """Return whether a text has half a character, which cannot be written to a file."""
    return any(unicodedata.category(char) == "Cs" for char in value)


def has_brace(value: str) -> bool:
    """Return whether Cookiecutter could take a part for template code, now or at an update."""
    return bool(set("{}") & set(value))


def is_text(value: object) -> bool:
    """Return whether a yes or no is still a text: Cookiecutter before 2.7 takes "no" for true."""
    return isinstance(value, str)


def is_not_an_address(value: str) -> bool:
    """Return whether a value is no e-mail address that pyproject.toml accepts."""
    return not EMAIL.fullmatch(value)


def is_not_a_slug(value: str) -> bool:
    """Return whether a value cannot name a folder or distribution; empty has its own message."""
    return bool(value.strip()) and not SLUG.fullmatch(value)


def is_too_long(value: str) -> bool:
    """Return whether paths in a folder of this name could be too long for Windows."""
    return len(value) > LONGEST_SLUG


def is_one_of(names: frozenset[str]) -> Callable[[str], bool]:
    """Return a check for names in any spelling (for PyPI, My_Name and my-name are the same)."""
    return lambda value: re.sub(r"[-_.]+", "-", value).lower() in names


MODULES = frozenset(name.replace("_", "-") for name in sys.stdlib_module_names)

CHECKS: list[tuple[str, Callable[[str], bool], str]] = [
    *[
        (name, is_text, "is a text, not yes or no; use Cookiecutter 2.7 or later")
        for name in YES_OR_NO
    ],
    ("project_name", is_blank, "is empty"),
    ("project_slug", is_blank, "is empty"),
    ("author_name", is_blank, "is empty"),
    *[(text, has_outer_blank, "begins or ends with whitespace") for text in TEXTS],
    *[(text, has_control, "has a line break or a control character") for text in TEXTS],
    *[(text, has_lone_surrogate, "has half a character (a lone surrogate)") for text in TEXTS],
    *[(text, has_brace, "has a brace, which would be taken for template code") for text in TEXTS],
    ("author_email", is_not_an_address, "is not an address such as name@example.com"),
    (
        "project_slug",
        is_not_a_slug,
        "is not a plain name: lowercase letters and digits, with single - or _ between them",
    ),
    ("project_slug", is_too_long, f"is longer than {LONGEST_SLUG} characters"),
    ("project_slug", is_one_of(OWN_FOLDERS), "is the name of a folder that every project has"),
    ("project_slug", is_one_of(MODULES), "is the name of a Python module"),
    ("project_slug", is_one_of(WINDOWS_DEVICES), "is the name of a device on Windows"),
    (
        "project_slug",
        is_one_of(POSTGRESQL_DATABASES),
        "is the name of a database that every PostgreSQL server has",
    ),
]


def problems() -> Iterator[str]:
    """Yield one line for each check that an answer fails."""
    with_braces = {text: GIVEN[text] for text in TEXTS if has_brace(str(GIVEN.get(text, "")))}
    values = {**ANSWERS, **with_braces}
    for answer, is_wrong, message in CHECKS:
        if is_wrong(values[answer]):
            yield f"  - {answer} {message}: {values[answer]!a:.80}"


def modification_times() -> dict[str, int]:
    """Return the modification time in nanoseconds of each path in this folder."""
    paths = (Path(top, name) for top, folders, names in os.walk(".") for name in folders + names)
    return {str(path): path.lstat().st_mtime_ns for path in paths}


def remove_empty_parents(project: Path, output: Path) -> None:
    """Remove all folders created for a slug such as a/b, of which Cookiecutter deletes only b.

    Folders that are not empty stay, and so do the output folder and its parents.
    """
    os.chdir(output)  # Windows cannot remove the working folder of a process
    for folder in (project, *project.parents):
        if output.is_relative_to(folder) or any(folder.iterdir()):
            return
        folder.rmdir()


def main() -> None:
    """Print every problem and fail; if there is none, record which files exist already."""
    lines = list(problems())
    if not lines:
        STARTED.write_text(json.dumps(modification_times()), encoding="ascii")
        return
    print("\nNothing was generated. Please correct:", *lines, "", sep="\n", file=sys.stderr)
    if "_output_dir" in ANSWERS:  # set by Cookiecutter, absent under cruft
        project, output = Path.cwd(), Path(ANSWERS["_output_dir"]).resolve()
        if not output.is_relative_to(project.parent):
            remove_empty_parents(project, output)
    sys.exit(1)


if __name__ == "__main__":
    main()
