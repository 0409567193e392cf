"""Remove what was answered with no, start a repository and a lock file, say what to type next.

It acts inside the project only, and deletes nothing that was there before this run.

Standard library only, Python 3.10 or later, ASCII output: the hook runs under the interpreter of
Cookiecutter, on consoles that may know no other characters.
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

# Made by the first hook: which files were here before, and when they had been written.
STARTED = Path(".cookiecutter-started")
# Set, it leaves the project as it was rendered: no repository, no lock file.
BARE = "COOKIECUTTER_BARE"
# Would send git and uv to another folder than the project.
ELSEWHERE = {
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"),
    *("UV_PROJECT", "UV_WORKING_DIR"),
}
# Without a network uv gives up by itself; what never answers is not waited for.
SECONDS = 60.0


@cache
def modification_times() -> dict[str, int]:
    """Return when each file that was here before this run was last written, in nanoseconds."""
    times: dict[str, int] = json.loads(STARTED.read_text(encoding="ascii"))
    return times


def is_new(path: Path) -> bool:
    """Tell whether this run wrote a file: `-f -s` leaves alone what is there, `-f` does not."""
    return path.lstat().st_mtime_ns != modification_times().get(str(path))


def remove(path: Path) -> None:
    """Delete a file, or what a folder holds, as far as this run wrote it into the project."""
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
    """Give a file its name in the project, unless the user has one of that name already."""
    if os.path.lexists(new) and not is_new(new):
        remove(old)
    elif is_new(old):
        old.replace(new)


def attempt(*command: str, seconds: float = SECONDS) -> bool:
    """Run a command and say whether it did what it should: it may be missing, fail or hang."""
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
    """Start a repository with pre-commit, commit nothing; say what became of the two."""
    if attempt("git", "rev-parse", "--is-inside-work-tree"):
        return "the one that was here", "left as it was"
    started = attempt("git", "init", "--initial-branch=main")
    if started and attempt("pre-commit", "install"):
        return "started", "installed"
    made = "started" if started else "not started (git init --initial-branch=main)"
    return made, "not installed (uv run pre-commit install)"


def has_workspace(folder: Path) -> bool:
    """Tell whether a folder may hold a workspace of uv, whose lock file `uv lock` would write."""
    try:
        return "workspace" in (folder / "pyproject.toml").read_text("utf-8", "replace")
    except OSError:
        return False


def lock() -> str:
    """Write uv.lock, which CI and the image install from; say what became of it."""
    if Path("uv.lock").exists():
        return "left as it was"
    if any(map(has_workspace, PROJECT.parents)):
        return "left to the workspace around this folder"
    uv = os.environ.get("UV", "uv")  # uv names itself there for what runs under `uvx`
    return "written" if attempt(uv, "lock") else "not written (uv lock, with a network)"


def summary() -> str:
    """Do what a new project needs besides its files; return three lines about it."""
    repository, pre_commit = start_repository()
    return f"""\
    git repository: {repository}
    pre-commit:     {pre_commit}
    uv.lock:        {lock()}
"""


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
{install}    uv run fastapi dev             # http://127.0.0.1:8000/docs
    uv run pytest
    git add --all && git commit    # the first commit is yours
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
                rename(Path(old), Path(new))
    STARTED.unlink()
    if "_output_dir" in ANSWERS:  # set by Cookiecutter, absent under cruft
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        # At once: to lock may take as long as the network lets it.
        print(next_steps(Path.cwd()), flush=True)
        if not os.environ.get(BARE):
            print(summary())


if __name__ == "__main__":
    main()
