"""Durable tasks beside a plain insert and beside their peers, on the project's database."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from pathlib import Path

from app.db import DatabaseSettings
from app.db.backend import default_url
from app.db.migrate import migrate
from table import Table, main, median_ratio, progress

ROUNDS = 7
QUICK_ROUNDS = 3
ON_POSTGRESQL = default_url().startswith("postgresql")
INSERTS, OURS, AT_ONCE = "inserts", "ours", "ours_at_once"
NAMES = {
    INSERTS: "plain insert and commit",
    OURS: "app.tasks",
    AT_ONCE: "app.tasks, all in one transaction",
    "dbos": f"DBOS {version('dbos')}, started at once",
}
if ON_POSTGRESQL:
    NAMES |= {
        "procrastinate": f"procrastinate {version('procrastinate')}",
        "pgqueuer": f"pgqueuer {version('pgqueuer')}",
    }
SLOW = {"dbos_queue": f"DBOS {version('dbos')}, by its queue"}
"""Measured with a tenth of the tasks, because it polls once a second."""
TARGETS = (
    [(INSERTS, 0.9), ("procrastinate", 2.0), ("dbos", 1.3), ("pgqueuer", None)]
    if ON_POSTGRESQL
    else [(INSERTS, 0.6), ("dbos", 1.3)]
)
HOW = (
    "{count:,} transactions by 20 producers at once, each with one task that does nothing, until "
    "the last has run and its end is recorded; engines in turn, each in a fresh process on a "
    "database of its own, 20 tasks at a time. Runs are counted. Only ours and the plain insert "
    "are part of the caller's own transaction; only ours and pgqueuer have priorities, and ours "
    "ages them; all but DBOS's first can limit how many run over all processes."
)


def measure(quick: bool) -> Table:
    """Measure all engines in turn, round by round."""
    count = 400 if quick else 2000
    name = "PostgreSQL, without fsync" if ON_POSTGRESQL else "SQLite"
    table = Table(f"Durable tasks on {name}", HOW.format(count=count))
    seconds: dict[str, list[float]] = {engine: [] for engine in NAMES | SLOW}
    with databases() as make:
        for number in range(QUICK_ROUNDS if quick else ROUNDS):
            for engine, runs in seconds.items():
                tasks = count // 10 if engine in SLOW else count
                runs.append(_run(engine, make(f"{engine}_{number}"), tasks) * count / tasks)
            rates = ", ".join(
                f"{engine} {count / runs[-1]:.0f}" for engine, runs in seconds.items()
            )
            progress(f"round {number + 1}, tasks/s: {rates}")
    for engine, label in (NAMES | SLOW).items():
        table.spread(label, [count / took for took in seconds[engine]], "tasks/s")
    for peer, bound in TARGETS:
        label = f"rate, app.tasks : {NAMES[peer]}"
        ratio = median_ratio(seconds[peer], seconds[OURS])
        table.note(label, ratio, "") if bound is None else table.at_least(label, ratio, bound, "")
    if ON_POSTGRESQL:
        best = median_ratio([count] * len(seconds[AT_ONCE]), seconds[AT_ONCE])
        label = f"{count:,} tasks in one transaction, to the last end"
        table.at_least(label, best, 8000, "tasks/s")
    return table


@contextmanager
def databases() -> Iterator[Callable[[str], str]]:
    """Yield a function that creates a database with the service's tables and returns its URL."""
    if not ON_POSTGRESQL:
        with tempfile.TemporaryDirectory() as folder:
            yield lambda name: _migrated(f"sqlite:///{Path(folder) / name}.db")
        return
    import psycopg  # noqa: PLC0415 - a project on SQLite has neither
    from tests.databases.cluster import Cluster  # noqa: PLC0415 - as above

    with Cluster() as cluster, psycopg.connect(cluster.url, autocommit=True) as connection:

        def make(name: str) -> str:
            connection.execute(f"CREATE DATABASE {name}".encode())
            return _migrated(f"postgresql+psycopg://postgres@127.0.0.1:{cluster.port}/{name}")

        yield make


def _migrated(url: str) -> str:
    with redirect_stdout(sys.stderr):  # stdout is for the table
        migrate(DatabaseSettings(url=url))
    return url


def _run(engine: str, url: str, count: int) -> float:
    """Return the seconds that an engine takes."""
    command = [sys.executable, str(Path(__file__).with_name("durable_engines.py"))]
    result = subprocess.run(
        [*command, engine, url, str(count)], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    )
    return float(result.stdout.split()[-1])


if __name__ == "__main__":
    main(measure)
