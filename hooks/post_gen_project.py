"""Remove the files of disabled options, create a repository and a lock file, print the next steps.

The hook acts inside the project only, and deletes no file that existed before this run.

It uses only Python 3.10's standard library and ASCII output, because it runs under the
interpreter of Cookiecutter, on consoles that may not support other characters.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

PROJECT = Path.cwd().resolve()
ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")

# A path that does not exist is an error: otherwise, after a folder is renamed, its option would
# remove nothing. Files that two options share depend on a hidden answer (__...) derived from both.
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
# The file of the chosen answer gets the name that other files import.
RENAME = {
    ("database", "sqlite"): {"app/db/sqlite.py": "app/db/backend.py"},
    ("database", "postgresql"): {"app/db/postgresql.py": "app/db/backend.py"},
}

# Written by the first hook: the files that existed before this run, with their modification times.
STARTED = Path(".cookiecutter-started")
# If this variable is set, the hook creates no repository and no lock file.
BARE = "COOKIECUTTER_BARE"
# Variables that would make git and uv use another folder than the project.
ELSEWHERE = {
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"),
    *("UV_PROJECT", "UV_WORKING_DIR"),
}
# uv itself stops if there is no network, but waits for a server that never answers.
SECONDS = 60.0


@cache
def modification_times() -> dict[str, int]:
    """Return the modification time in nanoseconds of each file that existed before this run."""
    times: dict[str, int] = json.loads(STARTED.read_text(encoding="ascii"))
    return times


def is_new(path: Path) -> bool:
    """Return whether this run wrote a file: `-f -s` keeps existing files, `-f` overwrites them."""
    return path.lstat().st_mtime_ns != modification_times().get(str(path))


def remove(path: Path) -> None:
    """Delete a file, or the files in a folder, if this run wrote them into the project."""
    if path.is_symlink() or PROJECT not in path.resolve().parents:
        return
    if not path.is_dir():
        if is_new(path):
            path.unlink()
        return
    for inside in path.iterdir():
        remove(inside)
    if not any(path.iterdir()):
        path.rmdir()


def rename(old: Path, new: Path) -> None:
    """Rename a file, unless the user already has a file with the new name."""
    if os.path.lexists(new) and not is_new(new):
        remove(old)
    elif is_new(old):
        old.replace(new)


def attempt(*command: str, seconds: float = SECONDS) -> bool:
    """Run a command and return whether it succeeded: it may be missing, fail or hang."""
    program = shutil.which(command[0])
    if program is None:
        return False
    try:
        return not subprocess.call(
            [program, *command[1:]],
            env={name: value for name, value in os.environ.items() if name not in ELSEWHERE},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def start_repository() -> tuple[str, str]:
    """Create a git repository with pre-commit and no commit; return the result of both."""
    if attempt("git", "rev-parse", "--is-inside-work-tree"):
        return "already there", "left unchanged"
    started = attempt("git", "init", "--initial-branch=main")
    if started and attempt("pre-commit", "install"):
        return "created", "installed"
    made = "created" if started else "not created (run git init --initial-branch=main)"
    return made, "not installed; run `uv run pre-commit install`"


def has_workspace(folder: Path) -> bool:
    """Return whether a folder may have a uv workspace, whose lock file `uv lock` would write."""
    try:
        return "workspace" in (folder / "pyproject.toml").read_text("utf-8", "replace")
    except OSError:
        return False


def lock() -> str:
    """Write uv.lock, from which CI and the image install; return the result."""
    if Path("uv.lock").exists():
        return "left unchanged"
    if any(map(has_workspace, PROJECT.parents)):
        return "left to the uv workspace around this folder"
    uv = os.environ.get("UV", "uv")  # uv sets UV to its own path for programs run by `uvx`
    return "written" if attempt(uv, "lock") else "not written; run `uv lock` when online"


def summary() -> str:
    """Create the repository, pre-commit hook and lock file; return a line about each."""
    repository, pre_commit = start_repository()
    return f"""\
    git repository: {repository}
    pre-commit:     {pre_commit}
    uv.lock:        {lock()}
"""


def next_steps(project: Path) -> str:
    """Return the commands to run and test the project, starting in the user's folder."""
    beside = project.parent == Path(os.environ.get("PWD", "."))
    folder = project.name if beside else f'"{project}"'
    has_uv = shutil.which("uv") or os.environ.get("UV")
    install = (
        "" if has_uv else "    python -m pip install uv    # or see https://docs.astral.sh/uv\n"
    )
    return f"""
Your service is ready:

    cd {folder}
{install}    uv run fastapi dev             # http://127.0.0.1:8000/docs
    uv run pytest
    git add --all && git commit    # you make the first commit
"""


def main() -> None:
    """Apply the tables; print and create the rest for a new project, not for an update by cruft."""
    for (option, value), paths in REMOVE.items():
        if ANSWERS[option] == value:
            for path in paths:
                remove(Path(path))
    for (option, value), names in RENAME.items():
        if ANSWERS[option] == value:
            for old, new in names.items():
                rename(Path(old), Path(new))
    STARTED.unlink()
    if "_output_dir" in ANSWERS:  # set by Cookiecutter, absent under cruft
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        # Printed first, because locking may take long on a slow network.
        print(next_steps(Path.cwd()), flush=True)
        if not os.environ.get(BARE):
            print(summary())


if __name__ == "__main__":
    main()
