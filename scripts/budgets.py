"""Measure the size of the default service, and update the table of budgets in the README.

A figure over its budget may only shrink: its limit is the rounded-up figure in the README.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bake import ROOT
from demo import make_project
from service import child_environment

README = ROOT / "README.md"
REPORTS = "app/features/reports"


def lines(*patterns: str) -> Callable[[Path], int]:
    """Return a function that counts the lines of files in a project."""

    def count(project: Path) -> int:
        paths = (path for pattern in patterns for path in project.glob(pattern))
        return sum(path.read_bytes().count(b"\n") for path in paths if path.is_file())

    return count


def number(pattern: str) -> Callable[[Path], int]:
    """Return a function that counts files in a project."""
    return lambda project: sum(path.is_file() for path in project.glob(pattern))


def megabytes(project: Path) -> int:
    """Return the size of an installed project's packages in MB, without bytecode."""
    packages = [path for path in project.glob(".venv/**/*") if path.suffix != ".pyc"]
    return sum(path.stat().st_size for path in packages if path.is_file()) // 1_000_000


@dataclass(frozen=True)
class Budget:
    """The limit of a figure, the step to which the README rounds it up, and how to measure it."""

    limit: int
    step: int
    measure: Callable[[Path], int]

    def rounded(self, project: Path) -> int:
        """Return the measured figure, rounded up."""
        return -(-self.measure(project) // self.step) * self.step


FILES = {
    "lines of Python in `app/`": Budget(7_300, 100, lines("app/**/*.py")),
    "files of Python in `app/`": Budget(100, 5, number("app/**/*.py")),
    "lines of Python in `app/tasks/`": Budget(3_600, 100, lines("app/tasks/**/*.py")),
    "lines of Python in the example `reports`": Budget(500, 50, lines(f"{REPORTS}/**/*.py")),
    "lines of its pages and mails": Budget(
        350, 50, lines(f"{REPORTS}/static/*", f"{REPORTS}/templates/**/*.j2")
    ),
    "lines of Python in `tests/`": Budget(5_000, 100, lines("tests/**/*.py")),
    "files in all": Budget(230, 5, number("**/*")),
}
INSTALLED = {"MB installed in production": Budget(150, 5, megabytes)}
BUDGETS = {**FILES, **INSTALLED}


def shown() -> dict[str, int]:
    """Return the figures in the README."""
    rows = re.findall(r"(?m)^\| (.*) \| ([\d,]+) \| [\d,]+ \|$", README.read_text(encoding="utf-8"))
    return {name: int(figure.replace(",", "")) for name, figure in rows}


def complaint(name: str, project: Path) -> str:
    """Return what is wrong with a figure, or with the README; an empty text if nothing is."""
    budget, figure = BUDGETS[name], shown()[name]
    measured = budget.measure(project)
    if measured > max(budget.limit, figure):
        return f"{name}: {measured:,}, which is over the budget and more than {figure:,}"
    row = f"| {name} | {figure:,} | {budget.limit:,} |\n"
    if row not in README.read_text(encoding="utf-8"):
        return f"{name}: the README has another budget; run make budgets"
    outdated = abs(figure - measured) > 2 * budget.step
    return f"{name}: the README is outdated; run make budgets" if outdated else ""


def main() -> None:
    """Measure a new project, and write the figures, unless one is over its budget and has grown."""
    before = shown()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder))
    grown = [
        f"{name}: {measured[name]:,} instead of {before[name]:,}; the budget is {budget.limit:,}"
        for name, budget in BUDGETS.items()
        if name in before and measured[name] > max(budget.limit, before[name])
    ]
    if grown:
        sys.exit("\n".join(["over the budget, and more than before:", *grown]))
    write(measured)


def measure(folder: Path) -> dict[str, int]:
    """Generate a project, install it without development packages, and return its figures."""
    project = make_project(folder)
    figures = {name: budget.rounded(project) for name, budget in FILES.items()}
    sync = [os.environ.get("UV", "uv"), "sync", "--quiet", "--no-dev"]
    subprocess.run(sync, cwd=project, env=child_environment(), check=True)
    return figures | {name: budget.rounded(project) for name, budget in INSTALLED.items()}


def write(measured: dict[str, int]) -> None:
    """Write the figures into the table of the README, and print its rows."""
    text = README.read_text(encoding="utf-8")
    for name, budget in BUDGETS.items():
        row = f"| {name} | {measured[name]:,} | {budget.limit:,} |"
        text, times = re.subn(rf"(?m)^\| {re.escape(name)} \|.*$", row, text)
        if times != 1:
            sys.exit(f"README.md needs one row of {name!r}")
        print(row)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
