"""The worker process of Celery: `celery -A app.celery_worker worker`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from uvicorn.loops.auto import auto_loop_factory

from app.feature import load_features
from app.lifespan import tasks_of
from app.service import create_app
from app.settings import ConfigurationError, Settings, read
from app.tasks import TaskSettings
from app.tasks.celery import CeleryRunner, CelerySettings, make_celery
from app.tasks.celery.worker import Worker

settings = read(Settings)
task_settings = read(TaskSettings)
celery_settings = read(CelerySettings)
if celery_settings.broker is None:
    raise ConfigurationError("CELERY_BROKER_URL: a worker needs a broker")
features = load_features(settings)
try:
    celery = make_celery(celery_settings, task_settings, tasks_of(features))
except ValueError as error:
    raise ConfigurationError(str(error)) from None
# Without routers: a worker serves no requests.
service = create_app(settings, [replace(feature, router=None) for feature in features])


@asynccontextmanager
async def open_runner() -> AsyncIterator[CeleryRunner]:
    """Open everything that the service opens: database, mail, features, task runner."""
    async with service.router.lifespan_context(service):
        yield service.state.runner


worker = Worker(
    celery,
    tasks_of(features),
    open_runner,
    task_settings.drain_timeout,
    loop_factory=auto_loop_factory(),  # tasks run on the same kind of loop as in the service
)
worker.follow_signals()
