"""A Celery worker of the shop: `celery -A tests.tasks.celery.shop_worker worker`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.feature import load_features
from app.lifespan import tasks_of
from app.service import create_app
from app.settings import Settings
from app.tasks import TaskSettings
from app.tasks.celery import CeleryRunner, CelerySettings, make_celery
from app.tasks.celery.worker import Worker
from tests.tasks.shop import create_shop

settings = Settings()
task_settings = TaskSettings()
features = [*load_features(settings), create_shop()]
service = create_app(settings, features)
celery = make_celery(CelerySettings(), task_settings, tasks_of(features))


@asynccontextmanager
async def open_runner() -> AsyncIterator[CeleryRunner]:
    async with service.router.lifespan_context(service):
        yield service.state.runner


worker = Worker(celery, tasks_of(features), open_runner, task_settings.drain_timeout)
worker.follow_signals()
