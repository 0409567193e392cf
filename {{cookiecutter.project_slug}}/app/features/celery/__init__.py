"""Runs tasks on Celery workers if there is a broker, and otherwise in this process."""

from typing import Any

from app.feature import Feature
from app.settings import ConfigurationError, Settings, read
from app.tasks.celery import CeleryRunner, CelerySettings


def create_feature(_: Settings) -> Feature:
    """Return the feature, which replaces the engine only if there is a broker."""
    settings = read(CelerySettings)
    if settings.broker is None:
        return Feature(name="celery")

    def make_runner(*args: Any, **kwargs: Any) -> CeleryRunner:
        try:
            return CeleryRunner(*args, celery_settings=settings, **kwargs)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None

    return Feature(name="celery", engine=make_runner)
