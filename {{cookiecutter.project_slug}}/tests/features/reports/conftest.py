"""Fixtures: upload a file in one call, and wait for its report."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.features import reports
from app.features.reports import columns
from app.features.reports.schemas import ReportStatistics
from app.features.reports.tasks import process_report
from app.tasks import TaskRunner
from tests.pages.browser import browser

__all__ = ["browser"]

SAMPLE = Path(reports.__file__).with_name("sample.csv").read_bytes()
UPLOADS = Path("data/uploads")

Upload = Callable[..., Awaitable[httpx2.Response]]
Finish = Callable[[httpx2.Response], Awaitable[dict[str, Any]]]


class Analysis:
    """Replaces `analyse`: waits for the gate, then raises the next error or returns statistics."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.calls = 0
        self.files: list[int] = []
        """How many uploaded files there were, at each call."""
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, path: Path, described: Callable[[int, int], None]) -> ReportStatistics:
        await asyncio.to_thread(path.stat)  # raises FileNotFoundError, as `analyse` does
        described(1, 4)
        self.calls += 1
        self.files.append(len(files()))
        self.called.set()
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return ReportStatistics(rows=1, columns=[])


def files() -> list[Path]:
    """Return the uploaded files that are still stored."""
    return list(UPLOADS.glob("*"))


@pytest.fixture
async def upload(client: httpx2.AsyncClient, runner: TaskRunner) -> AsyncIterator[Upload]:
    """Yield a function that uploads a file; its task ends before the next test begins."""

    async def upload(
        content: bytes = b"a,b\n1,2\n", *, name: str = "x.csv", **fields: object
    ) -> httpx2.Response:
        data = {"email": "ann@example.com", **fields}
        return await client.post("/reports", files={"file": (name, content)}, data=data)

    yield upload
    await runner.join(20)


@pytest.fixture
def finish(client: httpx2.AsyncClient, runner: TaskRunner) -> Finish:
    """Return a function that waits for the task of an upload, and returns the report."""

    async def finish(accepted: httpx2.Response) -> dict[str, Any]:
        assert accepted.status_code == 202, accepted.text
        await runner.join(20)
        report: dict[str, Any] = (await client.get(accepted.headers["Location"])).json()
        return report

    return finish


@pytest.fixture
def analyse(monkeypatch: pytest.MonkeyPatch) -> Analysis:
    analyse = Analysis()
    monkeypatch.setattr(columns, "analyse", analyse)
    assert process_report.retry is not None
    monkeypatch.setattr(process_report, "retry", replace(process_report.retry, delay=0.0))
    return analyse
