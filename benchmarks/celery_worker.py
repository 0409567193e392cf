"""The service's Celery workers for celery_engine.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.tasks import TaskSettings, task
from app.tasks.celery import CeleryRunner, CelerySettings, make_celery
from app.tasks.celery.worker import Worker
from celery.signals import worker_init, worker_ready
from uvicorn.loops.auto import auto_loop_factory

CONCURRENCY = 10
QUEUE = "tasks"

settings = TaskSettings(
    max_concurrency=CONCURRENCY, queue_size=1_000_000, drain_timeout=5, default_timeout=60
)
celery_settings = CelerySettings(queue=QUEUE)


@task
async def nothing(number: int) -> None:
    """Do nothing, so that only the engine is measured."""


@asynccontextmanager
async def open_runner() -> AsyncIterator[CeleryRunner]:
    """Open a runner as a worker of the service does, with metrics."""
    from app.features.metrics.tasks import TaskMetrics  # noqa: PLC0415 - not in a publisher
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - as above

    async with CeleryRunner(
        settings,
        [TaskMetrics(CollectorRegistry())],
        celery_settings=celery_settings,
        tasks=[nothing],
    ) as runner:
        yield runner


celery = make_celery(celery_settings, settings, [nothing])
Worker(
    celery,
    [nothing],
    open_runner,
    settings.drain_timeout,
    loop_factory=auto_loop_factory(),
).follow_signals()


@worker_init.connect
def _import_metrics(**_: object) -> None:
    """Import metrics once for all processes of a pool, as the service's worker does."""
    import app.features.metrics.tasks  # noqa: F401, PLC0415 - as above


@worker_ready.connect
def _announce(**_: object) -> None:
    print("ready.", flush=True)
