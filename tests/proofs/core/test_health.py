"""Readiness: what probes see, and how often the database is checked."""

import asyncio
import logging

import httpx2
import pytest
from fastapi import FastAPI

from app.db import readiness
from app.db.readiness import NO_ANSWER, NotReadyError

LOGGER = readiness.__name__


class Checks:
    """A stub database that counts its checks and ends them as the test wants."""

    def __init__(self) -> None:
        self.started = 0
        self.error: Exception | None = None
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def check(self) -> None:
        self.started += 1
        await self.may_end.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def checks(app: FastAPI) -> Checks:
    checks = app.state.database = Checks()
    return checks


@pytest.mark.parametrize("error", [None, NotReadyError("cause"), RuntimeError("bug")])
async def test_concurrent_and_following_probes_share_one_check(
    client: httpx2.AsyncClient,
    checks: Checks,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
) -> None:
    monkeypatch.setattr(readiness, "_REUSE", 3600.0)
    checks.error = error

    answers = await asyncio.gather(*[client.get("/health/ready") for _ in range(20)])
    answers.append(await client.get("/health/ready"))

    assert {answer.status_code for answer in answers} == {503 if error else 200}
    assert checks.started == 1


async def test_probes_are_answered_in_time_and_share_one_check_when_it_hangs(
    client: httpx2.AsyncClient, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        checks.started += 1
        try:
            await asyncio.Event().wait()
        finally:
            await checks.may_end.wait()  # as a driver may when it is cancelled

    monkeypatch.setattr(readiness, "_LIMIT", 0.01)
    monkeypatch.setattr(readiness, "_REUSE", 0.0)
    monkeypatch.setattr(checks, "check", hang)
    checks.may_end.clear()

    for _ in range(3):
        ready = await client.get("/health/ready")
        assert ready.json()["detail"] == NO_ANSWER

    assert checks.started == 1
    checks.may_end.set()


async def test_only_changes_of_readiness_are_logged(
    client: httpx2.AsyncClient,
    checks: Checks,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(readiness, "_REUSE", 0.0)
    caplog.set_level(logging.INFO)
    for error in (NotReadyError("one"), ValueError("word"), None):
        checks.error = error
        for _ in range(3):
            await client.get("/health/ready")

    lines = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    words = ("one", "word", "ready again")
    assert [word in line for word, line in zip(words, lines, strict=True)] == [True] * 3
