"""The example: each request adds three tasks, and each task logs one line."""

import asyncio
from collections import Counter

import httpx2
import pytest

from app.tasks import TaskRunner
from tests.features.notifications.test_notifications import lines


async def test_200_concurrent_requests_lose_no_task(
    client: httpx2.AsyncClient, runner: TaskRunner, caplog: pytest.LogCaptureFixture
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
    assert Counter(lines(caplog)) == expected


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
async def test_invalid_address_is_422_and_runs_nothing(
    client: httpx2.AsyncClient,
    runner: TaskRunner,
    caplog: pytest.LogCaptureFixture,
    email: str,
) -> None:
    response = await client.post(f"/notifications/{email}", params={"q": "tea"})
    await runner.join(5)

    assert response.status_code == 422
    assert lines(caplog) == []


async def test_query_over_200_characters_is_422(client: httpx2.AsyncClient) -> None:
    response = await client.post("/notifications/ann@example.com", params={"q": "x" * 201})

    assert response.status_code == 422


async def test_bytes_that_are_not_utf8_are_replaced(
    client: httpx2.AsyncClient, runner: TaskRunner, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.post("/notifications/%ed%a0%80@example.com?q=%ff")
    await runner.join(5)

    assert response.status_code == 202
    assert "found query: \ufffd" in lines(caplog)


class TestSmallQueue:
    """A queue with capacity for two tasks; a request with a query adds three."""

    @pytest.fixture
    def settings_env(self, settings_env: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        settings_env.setenv("TASKS_QUEUE_SIZE", "2")
        return settings_env

    async def test_request_whose_tasks_do_not_all_fit_runs_none(
        self, client: httpx2.AsyncClient, runner: TaskRunner, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(3):
            refused = await client.post("/notifications/ann@example.com", params={"q": "tea"})

            assert refused.status_code == 503
            assert refused.headers["Retry-After"] == "1"
        await runner.join(5)
        assert lines(caplog) == []

        assert (await client.post("/notifications/ann@example.com")).status_code == 202
        await runner.join(5)
        assert len(lines(caplog)) == 2
