"""The thread that reads a file: it can be stopped, leaves no files, and takes little memory."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from hashlib import sha512
from pathlib import Path
from typing import Any

import duckdb
import pytest

from app.features.reports import columns
from app.features.reports.columns import analyse, open_database
from app.features.reports.csv_file import CsvError

PROJECT = Path(columns.__file__).parents[3]


def make_file(content: str) -> Path:
    path = Path("it's [a] file.csv")
    path.write_text(content, encoding="utf-8")
    return path.absolute()


def ignore(*_: object) -> None:
    """Ignore the progress."""


def is_only_file(path: Path) -> bool:
    return list(path.parent.iterdir()) == [path]


async def test_valid_file_is_analysed_and_leaves_no_other_file() -> None:
    path = make_file("a,b\n1,x\n")
    statistics = await analyse(path, ignore)

    assert statistics.rows == 1
    assert [column.name for column in statistics.columns] == ["a", "b"]
    assert is_only_file(path)


async def test_invalid_file_raises_and_leaves_no_other_file() -> None:
    path = make_file("a,b\n1\n")

    with pytest.raises(CsvError, match=r"^row 2: "):
        await analyse(path, ignore)
    assert is_only_file(path)


async def test_duckdb_is_opened_outside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def open_elsewhere(folder: str) -> Database:
        threads.append(threading.current_thread())
        return open_database(folder)

    monkeypatch.setattr(columns, "open_database", open_elsewhere)
    await analyse(make_file("a\n1\n"), ignore)

    assert threads
    assert threading.main_thread() not in threads


Database = duckdb.DuckDBPyConnection


def compute_at_once(database: Database) -> None:
    database.execute("FROM range(20_000_000_000) SELECT sum(range)").fetchall()


def compute_in_small_steps(database: Database) -> None:
    for _ in range(20_000):
        database.execute("FROM range(1_000_000) SELECT sum(range)").fetchall()


@pytest.mark.parametrize("compute", [compute_at_once, compute_in_small_steps])
async def test_cancelled_analysis_interrupts_its_thread(
    monkeypatch: pytest.MonkeyPatch, compute: Callable[[Database], None]
) -> None:
    started, interrupted = threading.Event(), threading.Event()

    def describe(database: Database, *_: object) -> None:
        started.set()
        try:
            compute(database)
        except duckdb.InterruptException:
            interrupted.set()
            raise

    monkeypatch.setattr(columns, "describe", describe)
    path = make_file("a\n1\n")
    running = asyncio.create_task(analyse(path, ignore))
    async with asyncio.timeout(30):
        assert await asyncio.to_thread(started.wait, 30)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert interrupted.is_set()
    assert is_only_file(path)


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_csv('{outside}')",
        "COPY (SELECT 1) TO '{outside}'",
        "ATTACH '{outside}'",
        "FROM read_csv('https://example.com/x.csv')",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '1GB'",
    ],
)
def test_duckdb_cannot_leave_its_folder(tmp_path: Path, statement: str) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text("a\n1\n", encoding="utf-8")
    folder = tmp_path / "folder"
    folder.mkdir()

    with (
        open_database(str(folder)) as database,
        pytest.raises((duckdb.PermissionException, duckdb.InvalidInputException)),
    ):
        database.execute(statement.format(outside=outside))


async def test_full_disk_is_not_reported_as_a_bad_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error reaches the operators, and the file is kept for another run of the task."""
    connect = duckdb.connect

    def connect_to_little(config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
        little = {"memory_limit": "16MB", "max_temp_directory_size": "1MB"}
        return connect(config={**config, **little})

    monkeypatch.setattr(duckdb, "connect", connect_to_little)
    path = make_file("a\n" + "".join(f"{sha512(b'%d' % n).hexdigest()}\n" for n in range(200_000)))
    with pytest.raises(duckdb.OutOfMemoryException, match="temp_directory"):
        await analyse(path, ignore)
    assert is_only_file(path)


MEASURE = """
import asyncio, re, sys
from pathlib import Path
from app.features.reports.columns import analyse

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

small = Path(sys.argv[1]).with_name("small.csv")
small.write_text("a\\n1\\n")
asyncio.run(analyse(small, lambda *_: None))
idle = peak()
asyncio.run(analyse(Path(sys.argv[1]), lambda *_: None))
print(peak() - idle)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory as Linux counts it")
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["a,b", *(f"{n}," + "😀" * 30_000 for n in range(800))], id="wide cells"),
        pytest.param(["a", *(f"{n:040}" for n in range(1_500_000))], id="different values"),
    ],
)
def test_memory_of_an_analysis_is_bounded(lines: list[str]) -> None:
    path = make_file("\n".join(lines))
    command = [sys.executable, "-c", MEASURE, str(path)]

    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)  # noqa: S603 - a fixed command

    assert 0 < float(ended.stdout.split()[-1]) < 130  # MB
