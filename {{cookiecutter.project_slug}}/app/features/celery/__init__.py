"""Runs the tasks on Celery workers, if there is a broker; otherwise in this process."""

from functools import partial

from app.feature import Feature
from app.settings import Settings, read
from app.tasks.celery import CeleryRunner, CelerySettings


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    settings = read(CelerySettings)
    if settings.broker is None:
        return Feature(name="celery")
    return Feature(name="celery", engine=partial(CeleryRunner, celery_settings=settings))
