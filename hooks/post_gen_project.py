"""Remove what was answered with no, start a repository and a lock file, say what to type next.

Standard library only, Python 3.10 or later, ASCII output: the hook runs under the interpreter of
Cookiecutter, on consoles that may know no other characters.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

# A path that is not there is an error: a renamed folder must not leave its option without effect.
# What two options share goes by a hidden answer, which cookiecutter.json derives from both.
REMOVE = {
    ("database", "sqlite"): [
        "app/db/postgresql.py",
        "tests/databases/cluster.py",
        "tests/databases/postgresql.py",
    ],
    ("database", "postgresql"): [
        "app/db/sqlite.py",
        "tests/databases/sqlite.py",
    ],
    ("task_engine", "in_process"): [
        "app/celery_worker.py",
        "app/features/celery",
        "app/tasks/celery",
        "tests/tasks/celery",
    ],
    ("include_metrics", False): [
        "app/features/metrics",
        "ops",
        "tests/features/metrics",
    ],
    ("include_dashboard", False): [
        "app/features/dashboard",
        "tests/features/dashboard",
    ],
    ("include_example", False): [
        "app/features/notifications",
        "app/features/reports",
        "migrations/versions/0003_reports.py",
        "tests/features/notifications",
        "tests/features/reports",
    ],
    ("include_docker", False): [".dockerignore", "Dockerfile", "compose.yaml"],
    ("ci_provider", "github"): [".gitlab-ci.yml"],
    ("ci_provider", "gitlab"): [".github"],
    ("ci_provider", "none"): [".github", ".gitlab-ci.yml"],
    ("__has_pages", "no"): [
        "app/features/pages",
        "app/pages",
        "migrations/versions/0002_signed_out_sessions.py",
        "tests/pages",
    ],
}
# What is left of several gets the name by which the others know it.
RENAME = {
    ("database", "sqlite"): {"app/db/sqlite.py": "app/db/backend.py"},
    ("database", "postgresql"): {"app/db/postgresql.py": "app/db/backend.py"},
}


# Set, it leaves the project as it was rendered: no repository, no lock file.
BARE = "COOKIECUTTER_BARE"
# Without a network uv gives up by itself; one that never answers is not waited for.
LOCK_SECONDS = 60.0
QUICK_SECONDS = 20.0


def remove(path: Path) -> None:
    """Delete a file, or a folder with all it holds."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def attempt(*command: str, seconds: float = QUICK_SECONDS) -> bool:
    """Run a command and say whether it did what it should: it may be missing, fail or hang."""
    program = shutil.which(command[0])
    if program is None:
        return False
    try:
        return not subprocess.call(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def start_repository() -> bool:
    """Make a git repository with pre-commit in it, unless the project lies in one already."""
    if attempt("git", "rev-parse", "--is-inside-work-tree"):
        return True
    if not attempt("git", "init", "--initial-branch=main"):
        return False
    attempt("pre-commit", "install")  # where it is installed; the README has the command
    return True


def lock() -> bool:
    """Write uv.lock, which CI and the image install from."""
    uv = os.environ.get("UV", "uv")  # uv names itself there for what runs under `uvx`
    return Path("uv.lock").exists() or attempt(uv, "lock", seconds=LOCK_SECONDS)


def left_to_do() -> str:
    """Start the repository and the lock file; return the commands for what could not be done."""
    todo = []
    if not start_repository():
        todo.append("    git init --initial-branch=main\n")
    if not lock():
        todo.append("    uv lock                     # with a network; commit uv.lock\n")
    return "\nTo do before the first commit:\n\n" + "".join(todo) if todo else ""


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
    """Apply the tables; the rest is for a new project, not for the update of an old one."""
    for (option, value), paths in REMOVE.items():
        if ANSWERS[option] == value:
            for path in paths:
                remove(Path(path))
    for (option, value), names in RENAME.items():
        if ANSWERS[option] == value:
            for old, new in names.items():
                Path(old).replace(new)
    if "_output_dir" in ANSWERS:  # set by Cookiecutter, absent under cruft
        todo = "" if os.environ.get(BARE) else left_to_do()
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        print(next_steps(Path.cwd()) + todo)


if __name__ == "__main__":
    main()
