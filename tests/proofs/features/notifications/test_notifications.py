"""The example: three tasks of one request, one whole line each."""

import asyncio
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app.features.notifications import tasks
from app.features.notifications.tasks import write_log
from app.tasks import TaskRunner
from cost import costs_little

LOG = Path("data/notifications.log")


needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


def content() -> bytes:
    return LOG.read_bytes() if LOG.exists() else b""


def lines() -> list[str]:
    return content().decode().splitlines()


async def test_concurrent_requests_tear_no_line(
    client: httpx2.AsyncClient, runner: TaskRunner
) -> None:
    query = "é" * 200

    async def notify(number: int) -> int:
        path = f"/notifications/user{number}@example.com"
        return (await client.post(path, params={"q": query})).status_code

    statuses = await asyncio.gather(*(notify(number) for number in range(200)))
    await runner.join(20)

    assert set(statuses) == {202}
    expected = Counter({f"found query: {query}": 200})
    for number in range(200):
        expected[f"message to user{number}@example.com"] = 1
        expected[f"audit: user{number}@example.com was notified"] = 1
    assert Counter(lines()) == expected


@pytest.mark.parametrize(
    "email",
    [
        "ann@example.com%0aforged",
        "ann@example.com%0d%0a",
        "a@b@c",
        "%00@example.com",
        "a@example.com,b@example.com",
        "x" * 400 + "@example.com",
    ],
)
async def test_a_bad_address_is_refused(
    client: httpx2.AsyncClient, runner: TaskRunner, email: str
) -> None:
    response = await client.post(f"/notifications/{email}", params={"q": "tea"})
    await runner.join(5)

    assert response.status_code == 422
    assert not content()


async def test_a_long_query_is_refused(client: httpx2.AsyncClient) -> None:
    response = await client.post("/notifications/ann@example.com", params={"q": "x" * 201})

    assert response.status_code == 422


@pytest.mark.parametrize("pattern", ["a", "é", "\r", "\r\n", "🚀"])
def test_100_kb_cost_nothing(pattern: str) -> None:
    text = (pattern * 100_000)[:100_000]
    with costs_little():
        write_log(text)


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_nobody_else_may_read_the_log() -> None:
    write_log("a message")

    assert stat.S_IMODE(LOG.stat().st_mode) == 0o600
    assert stat.S_IMODE(LOG.parent.stat().st_mode) == 0o700


async def test_bytes_that_are_no_text_do_no_harm(
    client: httpx2.AsyncClient, runner: TaskRunner
) -> None:
    response = await client.post("/notifications/%ed%a0%80@example.com?q=%ff")
    await runner.join(5)

    assert response.status_code == 202
    assert "found query: \ufffd" in lines()


class TestSmallQueue:
    """With room for two tasks."""

    @pytest.fixture
    def settings_env(self, settings_env: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        settings_env.setenv("TASKS_QUEUE_SIZE", "2")
        return settings_env

    async def test_all_or_nothing(self, client: httpx2.AsyncClient, runner: TaskRunner) -> None:
        for _ in range(3):
            refused = await client.post("/notifications/ann@example.com", params={"q": "tea"})

            assert refused.status_code == 503
            assert refused.headers["Retry-After"] == "1"
        await runner.join(5)
        assert not content()

        assert (await client.post("/notifications/ann@example.com")).status_code == 202
        await runner.join(5)
        assert len(lines()) == 2


@pytest.fixture
def folder_instead_of_a_file() -> None:
    LOG.mkdir(parents=True)


async def check_failures(client: httpx2.AsyncClient, runner: TaskRunner) -> None:
    response = await client.post("/notifications/ann@example.com")
    await runner.join(5)

    assert response.status_code == 202
    assert runner.snapshot().failed == 2
    assert (await client.get("/health/ready")).status_code == 200
    assert (await client.post("/notifications/ann@example.com")).status_code == 202
    await runner.join(5)


@pytest.mark.usefixtures("folder_instead_of_a_file")
async def test_a_folder_in_the_place_of_the_file(
    client: httpx2.AsyncClient, runner: TaskRunner
) -> None:
    await check_failures(client, runner)


@needs_dev_full
async def test_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, client: httpx2.AsyncClient, runner: TaskRunner
) -> None:
    monkeypatch.setattr(tasks, "LOG_FILE", Path("/dev/full"))

    await check_failures(client, runner)
