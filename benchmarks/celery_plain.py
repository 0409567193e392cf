"""Plain Celery workers for celery_engine.py; PLAIN_ACKS_LATE=1 lets them acknowledge as ours do."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_ready

celery = Celery("plain", broker=os.environ.get("CELERY_BROKER_URL"))
celery.conf.update(task_ignore_result=True, task_default_queue="tasks")
if os.environ.get("PLAIN_ACKS_LATE"):
    celery.conf.update(
        task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1
    )


@celery.task
def nothing(number: int) -> None:
    """Do nothing, so that only the engine is measured."""


@worker_ready.connect
def _announce(**_: object) -> None:
    print("ready.", flush=True)
