"""Metrics: requests by route, tasks by outcome, and a port for each process."""

import asyncio
import socket
from collections.abc import Mapping

import httpx2
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from app.db import Database
from app.features.metrics import tasks
from app.service import create_app
from app.tasks import Priority, TaskRunner, enqueue, task

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@task(name="good")
async def good() -> None:
    pass


@task(name="bad")
async def bad() -> None:
    raise LookupError


@task(name="later", durable=True)
async def later() -> None:
    pass


@pytest.fixture(autouse=True)
def _short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "INTERVAL", 0.05)


async def read(client: httpx2.AsyncClient) -> Samples:
    """Return the samples by name and labels; the request for them is not counted yet."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


async def test_requests_are_counted_by_route_and_metrics_need_a_key(
    client: httpx2.AsyncClient,
) -> None:
    for method, path in 2 * [("GET", "/tasks/1"), ("GET", "/nothing"), ("BREW", "/tasks")]:
        await client.request(method, path)
    samples = await read(client)

    for method, route, status in (
        ("GET", "/tasks/{task_id}", "404"),
        ("GET", "unmatched", "404"),
        ("OTHER", "/tasks", "405"),
    ):
        labels = {"method": method, "route": route}
        assert value(samples, "http_requests_total", **labels, status=status) == 2
        assert value(samples, "http_request_duration_seconds_count", **labels) == 2
    assert (await client.get("/metrics", headers={"X-API-Key": "wrong"})).status_code == 401


async def test_tasks_are_counted_by_outcome(client: httpx2.AsyncClient, runner: TaskRunner) -> None:
    runner.submit(good, priority=Priority.HIGH)
    runner.submit(bad)
    await runner.join(5)
    samples = await read(client)

    assert value(samples, "bg_tasks_started_total", task="good") == 1
    assert value(samples, "bg_tasks_completed_total", task="good", outcome="succeeded") == 1
    assert value(samples, "bg_tasks_completed_total", task="bad", outcome="failed") == 1
    assert value(samples, "bg_task_errors_total", task="bad", type="LookupError") == 1
    assert value(samples, "bg_task_duration_seconds_count", task="good") == 1
    assert value(samples, "bg_task_wait_seconds_count", task="good", priority="3") == 1
    for name in ("bg_tasks_completed_total", "bg_tasks_rejected_total", "bg_task_retries_total"):
        outcome = {"outcome": "dead"} if "completed" in name else {}
        assert value(samples, name, task="good", **outcome) == 0
    assert value(samples, "bg_tasks_in_progress", task="good") == 0
    assert value(samples, "bg_task_queue_depth", priority="3") == 0


async def test_durable_tasks_in_the_table_are_counted(
    client: httpx2.AsyncClient, app: FastAPI
) -> None:
    database: Database = app.state.database
    async with database.session() as session:
        enqueue(session, later)  # unknown to this service, so it stays queued
    labels = {"task": "later", "state": "queued"}
    async with asyncio.timeout(10):
        while value(samples := await read(client), "bg_durable_tasks", **labels) is None:
            pass
    due_for = value(samples, "bg_durable_tasks_oldest_due_seconds")

    assert value(samples, "bg_durable_tasks", **labels) == 1
    assert due_for is not None
    assert 0 < due_for < 60


def ports_with_metrics(ports: range) -> list[int]:
    """Return the ports at which metrics are served."""
    urls = {port: f"http://127.0.0.1:{port}/metrics" for port in ports if is_open(port)}
    return [port for port, url in urls.items() if "python_info" in httpx2.get(url).text]


def is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


async def test_every_process_has_a_metrics_port_of_its_own(
    settings_env: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1]
        ports = range(first + 1, first + 64)
        settings_env.setenv("METRICS_PORT", str(first))
        one, other = create_app(), create_app()
        async with one.router.lifespan_context(one), other.router.lifespan_context(other):
            served = ports_with_metrics(ports)

    assert len(served) >= 2
    assert ports_with_metrics(ports) == []
