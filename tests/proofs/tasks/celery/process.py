"""The application that `celery -A tasks.celery.process worker` runs."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from celery import signals
from uvicorn.loops.auto import auto_loop_factory

from app.tasks import TaskSettings
from app.tasks.celery import CeleryRunner, CelerySettings, make_celery
from app.tasks.celery.worker import Worker

from .application import TASKS, open_runner
from .journal import tell

logging.basicConfig(level=logging.INFO)  # shown when a test fails
settings = TaskSettings()
celery_settings = CelerySettings()
celery = make_celery(celery_settings, settings, TASKS)
if "visibility_timeout" in celery.conf.broker_transport_options:  # on Redis
    # kombu restores messages of lost workers every 10 s: too seldom to wait for in every proof.
    celery.conf.broker_transport_options["unacked_restore_interval"] = 0.2


@asynccontextmanager
async def open_this() -> AsyncIterator[CeleryRunner]:
    async with open_runner(settings, celery_settings) as runner:
        assert isinstance(runner, CeleryRunner)
        yield runner


@signals.worker_ready.connect
def _report_ready(**_: Any) -> None:
    tell("ready")


worker = Worker(celery, TASKS, open_this, settings.drain_timeout, loop_factory=auto_loop_factory())
worker.follow_signals()
