"""The worker: what it prints, and that nothing is left of it."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from app.features.reports import analysis, worker
from app.features.reports.analysis import WorkerError, analyse
from app.features.reports.csv_file import CsvError

needs_fifos = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


def make_file(content: str) -> Path:
    path = Path("file.csv")
    path.write_text(content, encoding="utf-8")
    return path.absolute()


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Make a file that a worker opens and then waits for, for ever."""
    path = tmp_path / "file.csv"
    os.mkfifo(path)
    return path


async def test_a_good_file() -> None:
    statistics = await analyse(make_file("a,b\n1,x\n"), 1000)

    assert statistics.rows == 1
    assert [column.name for column in statistics.columns] == ["a", "b"]
    assert os.listdir() == ["file.csv"]  # noqa: PTH208


async def test_a_bad_file() -> None:
    with pytest.raises(CsvError, match=r"^row 1: 2 columns are too many; up to 1 are accepted$"):
        await analyse(make_file("a,b\n1,x\n"), 1)


async def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CsvError, match="the file is gone"):
        await analyse(tmp_path / "file.csv", 1)


async def test_a_worker_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "_WORKER", "app.no_such_worker")

    with pytest.raises(WorkerError, match=r"status 1: .*No module named app\.no_such_worker"):
        await analyse(make_file("a\n1\n"), 1000)


@needs_fifos
async def test_a_worker_that_takes_too_long(monkeypatch: pytest.MonkeyPatch, pipe: Path) -> None:
    monkeypatch.setattr(analysis, "TIME_LIMIT", 0.3)

    with pytest.raises(TimeoutError):
        await analyse(pipe, 1000)

    assert os.listdir() == ["file.csv"]  # noqa: PTH208


@needs_fifos
async def test_a_cancelled_worker_is_gone(pipe: Path) -> None:
    running = asyncio.create_task(analyse(pipe, 1000))
    async with asyncio.timeout(10):
        write_end = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)  # until the worker reads

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    with pytest.raises(BrokenPipeError):
        os.write(write_end, b"a\n1\n")
    os.close(write_end)
    assert os.listdir() == ["file.csv"]  # noqa: PTH208


def test_what_the_worker_prints(capsys: pytest.CaptureFixture[str]) -> None:
    path = make_file("a\n1\n")
    Path("work").mkdir()

    worker.main(str(path), "work", "1000")
    statistics = json.loads(capsys.readouterr().out)
    worker.main(str(make_file("a\n")), "work", "1000")
    problem = json.loads(capsys.readouterr().out)

    assert statistics["rows"] == 1
    assert problem == {"problem": "the file has a header and no rows"}
