"""Metrics of workers: every process has its own port, and their sum counts every run."""

from pathlib import Path

import httpx2
import pytest

from .application import broken, hold, note, publishing
from .brokers import Valkey, free_port
from .journal import Journal
from .workers import WorkerProcess

CONCURRENCY = 3
RAN = 40
MODULE = """
from contextlib import asynccontextmanager

from fastapi import FastAPI
from app.features.metrics import create_feature
from app.settings import Settings
from app.tasks.celery.worker import Worker
from tasks.celery import process
from tasks.celery.application import TASKS, JournalObserver, open_runner

@asynccontextmanager
async def open_this():
    service, feature = FastAPI(), create_feature(Settings())
    observers = (*feature.observers, JournalObserver())
    async with open_runner(process.settings, process.celery_settings, observers) as runner:
        service.state.runner = runner
        async with feature.lifespan(service):
            yield runner

celery = process.celery
process.worker._open_runner = open_this
"""


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.exhaustive)])
async def test_metrics_summed_over_processes_count_every_run(
    pool: str, tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    pytest.importorskip("app.features.metrics", reason="the service has no metrics")
    (tmp_path / "counted.py").write_text(MODULE, encoding="utf-8")
    port = free_port()
    with WorkerProcess(
        tmp_path, journal, target="counted", pool=pool, concurrency=CONCURRENCY,
        CELERY_BROKER_URL=valkey.url, DATABASE_URL=shipping, METRICS_PORT=str(port),
    ) as worker:  # fmt: skip
        worker.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            for _ in range(CONCURRENCY):
                runner.submit(hold)  # all at the same time, so that each process runs one
            pids = {entry["pid"] for entry in await journal.until("ran", CONCURRENCY)}
            journal.open_gate()
            for _ in range(RAN):
                runner.submit(note)
            runner.submit(broken)
            await journal.until("succeeded", CONCURRENCY + RAN)
            await journal.until("failed")
        texts = scrape(range(port, port + 8))
    assert len(pids) == (1 if pool == "threads" else CONCURRENCY)
    assert (worker.pid in pids) == (pool == "threads")
    assert total(texts, 'bg_tasks_completed_total{outcome="succeeded",task="hold"}') == CONCURRENCY
    assert total(texts, 'bg_tasks_completed_total{outcome="succeeded",task="note"}') == RAN
    assert total(texts, 'bg_tasks_started_total{task="note"}') == RAN
    assert total(texts, 'bg_tasks_completed_total{outcome="failed",task="broken"}') == 1
    assert total(texts, 'bg_task_errors_total{task="broken",type="ValueError"}') == 1


def scrape(ports: range) -> list[str]:
    texts = []
    for port in ports:
        try:
            texts.append(httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text)
        except httpx2.TransportError:  # nothing listens there, or something else does
            continue
    return texts


def total(texts: list[str], sample: str) -> float:
    """Add up a sample over all processes."""
    values = [
        float(line.removeprefix(sample))
        for text in texts
        for line in text.splitlines()
        if line.startswith(sample)
    ]
    return sum(values)
