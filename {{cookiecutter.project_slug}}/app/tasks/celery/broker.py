"""The Celery application: how messages are queued, ordered, kept and given back."""

import math
import ssl
from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu import Queue

from ..priority import PRIORITIES
from ..settings import TaskSettings
from ..task import Task
from .settings import CelerySettings
from .transport import Transport

_LAST = PRIORITIES[-1]
_MARGIN = 60.0
"""Seconds between the end of the longest run and the moment Redis gives its message away."""
_ENDLESS = 6 * 3600.0
"""Seconds of visibility if a task has no timeout; a longer run begins a second time on Redis."""


def make_celery(
    settings: CelerySettings, task_settings: TaskSettings, tasks: Iterable[Task[..., Any]] = ()
) -> Celery:
    """Make the application that publishes and consumes; connects to nothing yet.

    `tasks` decide how long a message may stay with a worker.
    """
    celery = Celery("tasks", broker=settings.broker, set_as_current=False)
    if _is_redis(settings.broker):
        celery.conf.broker_transport = f"{Transport.__module__}:{Transport.__name__}"
    if (settings.broker or "").startswith("rediss://"):
        # kombu itself would not ask who answers. `?ssl_cert_reqs=none` in the URL still says so.
        celery.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    visibility = settings.visibility_timeout or _visibility(task_settings, tasks)
    celery.conf.update(
        task_default_queue=settings.queue,
        task_queues=[Queue(settings.queue, queue_arguments=_queue_arguments(settings))],
        # At least once: a message stays with the broker until its task has ended.
        task_acks_late=True,
        task_acks_on_failure_or_timeout=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options=_transport_options(settings, visibility),
        broker_connection_timeout=settings.publish_timeout,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # The states of tasks are written by the engine, with what Celery does not know.
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        worker_concurrency=task_settings.max_concurrency,
        worker_pool=settings.pool,  # Celery passes over `--pool prefork` where a pool is set
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=True,
        enable_utc=True,
    )
    return celery


def broker_priority(celery: Celery, priority: int) -> int:
    """Return what this broker calls our `priority` (0 is the most urgent, 9 the least).

    Redis serves 0 first, RabbitMQ 9. Every message gets one: without it a task would be the first
    of all on Redis and the last on RabbitMQ.
    """
    return _LAST - priority if _is_amqp(celery.conf.broker_url) else priority


def _is_amqp(url: str | None) -> bool:
    return (url or "").startswith(("amqp://", "amqps://", "pyamqp://"))


def _is_redis(url: str | None) -> bool:
    return (url or "").startswith(("redis://", "rediss://"))


def _queue_arguments(settings: CelerySettings) -> dict[str, Any] | None:
    return {"x-max-priority": _LAST} if _is_amqp(settings.broker) else None


def _transport_options(settings: CelerySettings, visibility: float) -> dict[str, Any]:
    timeout = settings.publish_timeout
    if _is_amqp(settings.broker):
        return {"confirm_publish": True, "connect_timeout": timeout, "write_timeout": timeout}
    if not _is_redis(settings.broker):
        return {}
    return {
        "visibility_timeout": visibility,
        # Otherwise lost messages are looked for every 100 seconds only.
        "unacked_restore_throttle": 1,
        # Who is killed while it looks keeps all others from looking, by default for five minutes.
        "unacked_mutex_expire": 10,
        "priority_steps": list(PRIORITIES),
        "queue_order_strategy": "priority",
        "socket_connect_timeout": timeout,
        # A worker waits a second for messages, so that less would be a failure.
        "socket_timeout": max(timeout, 1.5),
        "socket_keepalive": True,
    }


def _visibility(settings: TaskSettings, tasks: Iterable[Task[..., Any]]) -> float:
    timeouts = [task.timeout for task in tasks]
    timeouts += [override.timeout for override in settings.overrides.values()]
    longest = max([settings.default_timeout, *(timeout or 0.0 for timeout in timeouts)])
    return (_ENDLESS if math.isinf(longest) else longest) + settings.drain_timeout + _MARGIN
