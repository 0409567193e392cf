"""What the default service may weigh, and what it weighs: writes the table in the README anew.

A figure over its budget may only shrink: the README has it, rounded up, and that is its limit.
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

from bake import ROOT, copy_template, generate, write_config
from service import child_environment

README = ROOT / "README.md"
REPORTS = "app/features/reports"


def lines(*patterns: str) -> Callable[[Path], int]:
    """Return what counts the lines of files."""

    def count(project: Path) -> int:
        found = (path for pattern in patterns for path in project.glob(pattern))
        return sum(path.read_bytes().count(b"\n") for path in found if path.is_file())

    return count


def number(pattern: str) -> Callable[[Path], int]:
    """Return what counts files."""
    return lambda project: sum(path.is_file() for path in project.glob(pattern))


def megabytes(project: Path) -> int:
    """Return the size of the packages of an installed project, in MB, without compiled Python."""
    packages = [path for path in project.glob(".venv/**/*") if path.suffix != ".pyc"]
    return sum(path.stat().st_size for path in packages if path.is_file()) // 1_000_000


@dataclass(frozen=True)
class Budget:
    """What to reach, how to measure it, and the step to which the README rounds up."""

    budget: int
    step: int
    measure: Callable[[Path], int]

    def rounded(self, project: Path) -> int:
        """Measure, and round up."""
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
    """Return the figures that the README has."""
    rows = re.findall(r"(?m)^\| (.*) \| ([\d,]+) \| [\d,]+ \|$", README.read_text(encoding="utf-8"))
    return {name: int(figure.replace(",", "")) for name, figure in rows}


def complaint(name: str, project: Path) -> str:
    """Return what is wrong with a figure, or with the README; nothing if all is well."""
    one, figure = BUDGETS[name], shown()[name]
    measured = one.measure(project)
    if measured > max(one.budget, figure):
        return f"{name}: {measured:,}, which is over the budget and more than {figure:,}"
    row = f"| {name} | {figure:,} | {one.budget:,} |\n"
    if row not in README.read_text(encoding="utf-8"):
        return f"{name}: the README has another budget: make budgets"
    return (
        f"{name}: the README is old: make budgets" if abs(figure - measured) > 2 * one.step else ""
    )


def main() -> None:
    """Measure a new project; write what is less, or within its budget, and complain of the rest."""
    before = shown()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder))
    grown = [
        f"{name}: {measured[name]:,} instead of {before[name]:,}, the budget being {one.budget:,}"
        for name, one in BUDGETS.items()
        if name in before and measured[name] > max(one.budget, before[name])
    ]
    if grown:
        sys.exit("\n".join(["over the budget, and more than before:", *grown]))
    write(measured)


def measure(folder: Path) -> dict[str, int]:
    """Generate a project, and install it as for production; return its figures."""
    project = generate(copy_template(folder / "template"), folder, write_config(folder))
    figures = {name: one.rounded(project) for name, one in FILES.items()}
    sync = [os.environ.get("UV", "uv"), "sync", "--quiet", "--no-dev"]
    subprocess.run(sync, cwd=project, env=child_environment(), check=True)
    return figures | {name: one.rounded(project) for name, one in INSTALLED.items()}


def write(measured: dict[str, int]) -> None:
    """Put the figures into the table of the README."""
    text = README.read_text(encoding="utf-8")
    for name, one in BUDGETS.items():
        row = rf"(?m)^\| {re.escape(name)} \|.*$"
        text, times = re.subn(row, f"| {name} | {measured[name]:,} | {one.budget:,} |", text)
        if times != 1:
            sys.exit(f"README.md needs one row of {name!r}")
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
