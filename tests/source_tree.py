"""Reads the files of a project: their text, imports and declared dependencies."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path


def files(project: Path) -> list[str]:
    """Return every file of a project as a relative path with forward slashes."""
    paths = (path for path in project.rglob("*") if path.is_file())
    return sorted(path.relative_to(project).as_posix() for path in paths)


def read(project: Path, name: str) -> str:
    """Return a file's text with its line ends as they are."""
    return (project / name).read_bytes().decode("utf-8")


def read_all(project: Path) -> dict[str, str]:
    """Return the text of every file."""
    return {name: read(project, name) for name in files(project)}


@cache
def imports(name: str, text: str) -> frozenset[str]:
    """Return the absolute dotted names that a Python file imports, members included."""
    package = name.removesuffix(".py").split("/")[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(text, name)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    return frozenset(names)


def imported_packages(project: Mapping[str, str], names: Iterable[str]) -> set[str]:
    """Return the top-level packages that some Python files import."""
    return {full.partition(".")[0] for name in names for full in imports(name, project[name])}


@cache
def requirements(pyproject: str) -> tuple[set[str], set[str]]:
    """Return the names of the packages declared for the service, and for its development."""
    declared = tomllib.loads(pyproject)

    def names(lines: list[str]) -> set[str]:
        return {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in lines}

    groups = declared["dependency-groups"].values()
    return names(declared["project"]["dependencies"]), set().union(*map(names, groups))


def modules(project: Mapping[str, str]) -> dict[str, str]:
    """Return the modules of the service: dotted name to file."""
    return {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name
        for name in project
        if name.startswith("app/") and name.endswith(".py")
    }


def reachable_modules(project: Mapping[str, str], entry_points: Iterable[str]) -> set[str]:
    """Return the modules that run when the entry points (files) do."""
    by_name = modules(project)
    queue = list(entry_points)
    seen: set[str] = set()
    while queue:
        name = queue.pop()
        for full in imports(name, project[name]):
            parts = full.split(".")
            for length in range(1, len(parts) + 1):
                module = ".".join(parts[:length])
                if module in by_name and module not in seen:
                    seen.add(module)
                    queue.append(by_name[module])
    entry_files = set(entry_points)
    return seen | {module for module, file in by_name.items() if file in entry_files}
