"""Remove what was answered with no, then say what to type next.

Standard library only, Python 3.10 or later, ASCII output: the hook runs under the interpreter of
Cookiecutter, on consoles that may know no other characters.
"""

import json
import os
import shutil
import sys
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

# A path that is not there is an error: a renamed folder must not leave its option without effect.
# What two options share goes by a hidden answer, which cookiecutter.json derives from both.
REMOVE = {
    ("include_metrics", False): [
        "app/features/metrics",
        "tests/features/metrics",
    ],
    ("include_dashboard", False): [
        "app/features/dashboard",
        "tests/features/dashboard",
    ],
    ("include_example", False): [
        "app/features/notifications",
        "app/features/reports",
        "migrations/versions/0002_reports.py",
        "tests/features/notifications",
        "tests/features/reports",
    ],
    ("__has_pages", "no"): [
        "app/features/pages",
        "app/pages",
        "tests/features/pages",
        "tests/pages",
    ],
}


def remove(path: Path) -> None:
    """Delete a file, or a folder with all it holds."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def next_steps(project: Path) -> str:
    """Return the commands that run and test the project, from where the user stands."""
    beside = project.parent == Path(os.environ.get("PWD", "."))
    folder = project.name if beside else f'"{project}"'
    has_uv = shutil.which("uv") or os.environ.get("UV")
    install = (
        "" if has_uv else "    python -m pip install uv    # or see https://docs.astral.sh/uv\n"
    )
    return f"""
Your service is ready:

    cd {folder}
{install}    uv run fastapi dev          # http://127.0.0.1:8000/docs
    uv run pytest
"""


def main() -> None:
    """Apply the table; print the next steps unless an update of an old project runs the hook."""
    for (option, value), paths in REMOVE.items():
        if ANSWERS[option] == value:
            for path in paths:
                remove(Path(path))
    if "_output_dir" in ANSWERS:  # set by Cookiecutter, absent under cruft
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        print(next_steps(Path.cwd()))


if __name__ == "__main__":
    main()
