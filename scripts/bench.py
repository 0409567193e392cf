"""Generate the service, install it, run every benchmark beside it, and write RESULTS.md."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from bake import ROOT, copy_template, generate, write_config
from service import child_environment, uv

BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "RESULTS.md"
# For each name: the script, and the answers in which its project differs from the default one.
MEASURED: dict[str, tuple[str, dict[str, str]]] = {
    "http_service": ("http_service", {}),
    "responsiveness": ("responsiveness", {}),
    "task_engines": ("task_engines", {}),
    "durable": ("durable", {}),
    "durable_postgresql": ("durable", {"database": "postgresql"}),
    "worker": ("worker", {"database": "postgresql"}),
    "csv_upload": ("csv_upload", {}),
    "celery_engine": ("celery_engine", {"task_engine": "celery"}),
}


def main() -> None:
    """Run the benchmarks, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("scripts", nargs="*", help=f"some of {', '.join(MEASURED)}; all by default")
    options = parser.parse_args()
    load = _load()
    with tempfile.TemporaryDirectory() as folder:
        tables = [
            _run(name, _install(Path(folder), name), quick=options.quick)
            for name in options.scripts or MEASURED
        ]
    text = "\n".join([_heading(load, quick=options.quick), *tables])
    print(text)
    if options.scripts:
        return  # a part of the results must not overwrite all of them
    RESULTS.write_text(text, encoding="utf-8")
    missed = text.count("**missed**")
    print(f"{missed} targets missed" if missed else "Every target is met.")


@cache
def _template(folder: Path) -> Path:
    return copy_template(folder / "template")


def _install(folder: Path, name: str) -> Path:
    """Return the installed project for a benchmark."""
    _, answers = MEASURED[name]
    return _project(folder, tuple(answers.items()))


@cache
def _project(folder: Path, answers: tuple[tuple[str, str], ...]) -> Path:
    """Generate a project and install its packages, with bytecode compiled."""
    slug = "-".join(["my-service", *(value for _, value in answers)])
    project = generate(
        _template(folder), folder, write_config(folder), {"project_slug": slug, **dict(answers)}
    )
    uv("sync", "--quiet", "--no-dev", "--compile-bytecode", project=project)
    return project


def _run(name: str, project: Path, *, quick: bool) -> str:
    """Run one script with the project's interpreter and the peers' packages; return its table."""
    print(f"==> {name}", file=sys.stderr, flush=True)
    script, _ = MEASURED[name]
    command = [
        *(os.environ.get("UV", "uv"), "run", "--quiet", "--no-dev", "--no-sync"),
        *(
            "--with-requirements",
            str(BENCHMARKS / "peers.txt"),
            "python",
            str(BENCHMARKS / f"{script}.py"),
        ),
        *(["--quick"] if quick else []),
    ]
    (project / "data").mkdir(exist_ok=True)
    # Bytecode is written and reused, as in production.
    environment = child_environment(PYTHONPATH=str(project), PYTHONDONTWRITEBYTECODE="")
    result = subprocess.run(
        command,
        cwd=project,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    return result.stdout


def _load() -> str:
    """Return a sentence on how busy the machine is with other work, which distorts the figures."""
    if not hasattr(os, "getloadavg"):  # on Windows
        return ""
    return f" The load average before the start was {os.getloadavg()[0]:.1f}."


def _heading(load: str, *, quick: bool) -> str:
    date = dt.datetime.now(dt.UTC).date()
    length = "a quick run: figures for orientation only" if quick else "a full run"
    return (
        "# Benchmarks\n\n"
        f"Written by `make bench` on {date}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, {length}.{load}\n"
        "Every figure is a median; peers are measured in the same run, in turn.\n"
    )


if __name__ == "__main__":
    main()
