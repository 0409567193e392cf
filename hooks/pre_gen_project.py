"""Refuse answers that would give a broken project: every problem at once, and nothing left behind.

Standard library only, Python 3.10 or later, ASCII output: the hook runs under the interpreter of
Cookiecutter, on consoles that may know no other characters. Cookiecutter renders this file; the
two JSON literals below are the only places where answers enter it.
"""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
# As given on the command line, before Cookiecutter rendered them; absent under cruft.
GIVEN = json.loads(r"""{{ (_cookiecutter | default({})) | tojson }}""")

TEXTS = ("project_name", "description", "author_name", "author_email")
YES_OR_NO = [name for name in ANSWERS if name.startswith("include_")]
# Tells the second hook, which removes it, what was here before: what stays untouched is the user's.
STARTED = Path(".cookiecutter-started")
LONGEST_SLUG = 50
SLUG = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")
EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`|~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")

OWN_FOLDERS = frozenset({"app", "data", "migrations", "test", "tests"})
WINDOWS_DEVICES = frozenset(
    {"aux", "con", "nul", "prn"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
)
# The development database is called like the service.
POSTGRESQL_DATABASES = frozenset({"postgres", "template0", "template1"})


def is_blank(value: str) -> bool:
    """Tell whether there is nothing to see."""
    return not value.strip()


def has_outer_blank(value: str) -> bool:
    """Tell whether a blank of any kind begins or ends a text, and so a line of some file."""
    return value != value.strip()


def has_control(value: str) -> bool:
    """Tell whether there is a line break or a control character of any kind."""
    return any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} for char in value)


def has_lone_surrogate(value: str) -> bool:
    """Tell whether there is half a character, which no file can hold."""
    return any(unicodedata.category(char) == "Cs" for char in value)


def has_brace(value: str) -> bool:
    """Tell whether Cookiecutter would take a part for template code, now or at an update."""
    return bool(set("{}") & set(value))


def is_text(value: object) -> bool:
    """Tell whether a yes or no came as a text: Cookiecutter before 2.7 takes "no" for true."""
    return isinstance(value, str)


def is_not_an_address(value: str) -> bool:
    """Tell whether a value cannot stand where pyproject.toml wants an e-mail address."""
    return not EMAIL.fullmatch(value)


def is_not_a_slug(value: str) -> bool:
    """Tell whether a value is unfit for a folder or a distribution; empty has its own message."""
    return bool(value.strip()) and not SLUG.fullmatch(value)


def is_too_long(value: str) -> bool:
    """Tell whether paths below a folder of this name could grow too long for Windows."""
    return len(value) > LONGEST_SLUG


def is_one_of(names: frozenset[str]) -> Callable[[str], bool]:
    """Return a check for a name in any of its spellings (PyPI takes My_Name for my-name)."""
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
    *[(text, has_outer_blank, "begins or ends with a blank") for text in TEXTS],
    *[(text, has_control, "has a line break or a control character") for text in TEXTS],
    *[(text, has_lone_surrogate, "has half a character (a lone surrogate)") for text in TEXTS],
    *[(text, has_brace, "has a brace, which would be read as template code") for text in TEXTS],
    ("author_email", is_not_an_address, "is not an address such as name@example.com"),
    (
        "project_slug",
        is_not_a_slug,
        "is not a plain name: lowercase letters and digits, with single - or _ between them",
    ),
    ("project_slug", is_too_long, f"is longer than {LONGEST_SLUG} characters"),
    ("project_slug", is_one_of(OWN_FOLDERS), "is the name of a folder in every project"),
    ("project_slug", is_one_of(MODULES), "is the name of a module of Python itself"),
    ("project_slug", is_one_of(WINDOWS_DEVICES), "is the name of a device on Windows"),
    (
        "project_slug",
        is_one_of(POSTGRESQL_DATABASES),
        "is the name of a database in every PostgreSQL",
    ),
]


def problems() -> Iterator[str]:
    """Yield one line for each check that an answer fails."""
    hidden = {text: GIVEN[text] for text in TEXTS if has_brace(str(GIVEN.get(text, "")))}
    values = {**ANSWERS, **hidden}
    for answer, is_wrong, message in CHECKS:
        if is_wrong(values[answer]):
            yield f"  - {answer} {message}: {values[answer]!a:.80}"


def modification_times() -> dict[str, int]:
    """Return when each file in this folder was last written, in nanoseconds."""
    found = (Path(top, name) for top, folders, names in os.walk(".") for name in folders + names)
    return {str(path): path.lstat().st_mtime_ns for path in found}


def remove_empty_parents(project: Path, output: Path) -> None:
    """Remove the folders made on the way to a slug such as a/b: Cookiecutter deletes only b.

    A folder with anything in it stays, and so do the output folder and those above it.
    """
    os.chdir(output)  # Windows keeps a folder that a process stands in
    for folder in (project, *project.parents):
        if output.is_relative_to(folder) or any(folder.iterdir()):
            return
        folder.rmdir()


def main() -> None:
    """Print every problem and fail, or note what was here before the generation."""
    found = list(problems())
    if not found:
        STARTED.write_text(json.dumps(modification_times()), encoding="ascii")
        return
    print("\nNothing was generated. Please correct:", *found, "", sep="\n", file=sys.stderr)
    if "_output_dir" in ANSWERS:  # set by Cookiecutter, absent under cruft
        project, output = Path.cwd(), Path(ANSWERS["_output_dir"]).resolve()
        if not output.is_relative_to(project.parent):
            remove_empty_parents(project, output)
    sys.exit(1)


if __name__ == "__main__":
    main()
