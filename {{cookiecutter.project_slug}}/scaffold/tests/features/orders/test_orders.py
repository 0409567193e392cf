"""Orders are stored by the request, and processed after it."""

from uuid import uuid4

import httpx2

from app.tasks import TaskRunner


async def test_an_order_is_processed(client: httpx2.AsyncClient, runner: TaskRunner) -> None:
    created = await client.post("/orders", json={"title": "tea"})
    await runner.join(5)
    read = await client.get(f"/orders/{created.json()['id']}")

    assert created.status_code == 202
    assert read.json()["done_at"]
    assert (await client.get(f"/orders/{uuid4()}")).status_code == 404
    assert (await client.post("/orders", json={"title": "\0"})).status_code == 422


async def test_an_order_needs_an_api_key(client: httpx2.AsyncClient) -> None:
    del client.headers["X-API-Key"]

    assert (await client.post("/orders", json={"title": "tea"})).status_code == 401
