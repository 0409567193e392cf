"""The Celery application: how messages are queued, prioritized and kept."""

import math
import ssl
from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu import Queue

from ..priority import PRIORITIES
from ..settings import TaskSettings
from ..task import Task
from .settings import REDIS, CelerySettings

_LAST = PRIORITIES[-1]
_MARGIN = 60.0
"""Seconds between the end of the longest possible run and the redelivery of its message."""
_LONGEST_COUNTDOWN = 600.0
"""Seconds for which a worker holds a delayed message before it sends it again: long, so that this
costs little, but less than the 30 minutes in which RabbitMQ wants an acknowledgment."""
_ENDLESS = 6 * 3600.0
"""Seconds of visibility if a task has no timeout: Redis redelivers the message of a longer run."""
_UNACKNOWLEDGED = ("unacked", "unacked_index", "unacked_mutex")
"""kombu's keys in Redis for messages that workers have received and not acknowledged."""


def make_celery(
    settings: CelerySettings, task_settings: TaskSettings, tasks: Iterable[Task[..., Any]] = ()
) -> Celery:
    """Make the application that publishes and consumes messages; it does not connect yet.

    The longest timeout of `tasks` decides how long a worker may keep a message. Raises ValueError
    if the settings allow less, since Redis would deliver it to a second worker while the first runs
    it, and for a broker that is not supported.
    """
    celery = Celery("tasks", broker=settings.broker, set_as_current=False)
    if (settings.broker or "").startswith("rediss://"):
        # kombu does not check certificates by default. `?ssl_cert_reqs=none` still turns this off.
        celery.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    arguments = {"x-max-priority": _LAST} if _is_amqp(settings.broker) else None
    celery.conf.update(
        task_default_queue=settings.queue,
        task_queues=[
            Queue(name, routing_key=name, queue_arguments=arguments)
            for name in (settings.queue, announcements_in(settings.queue))
        ],
        # At least once: the broker keeps a message until its task has ended.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options=_transport_options(settings, task_settings, tasks),
        broker_connection_timeout=settings.publish_timeout,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # without it, a Redis that is full ends workers
        # The engine writes the states of tasks itself, with details that Celery does not know.
        task_ignore_result=True,
        worker_concurrency=task_settings.max_concurrency,
        worker_pool=settings.pool,  # Celery ignores `--pool prefork` if this is set
    )
    return celery


def broker_priority(celery: Celery, priority: int) -> int:
    """Translate `priority` (0 is the most urgent, 9 the least) to that of the broker.

    Redis serves 0 first, RabbitMQ 9. Every message gets one: without a priority a task would be the
    first of all on Redis and the last on RabbitMQ.
    """
    known = min(max(priority, 0), _LAST)  # another release may have more priorities
    return _LAST - known if _is_amqp(celery.conf.broker_url) else known


def announcements_in(queue: str) -> str:
    """Return the name of the queue for announcements of due durable tasks.

    They have a queue of their own, so that its length is the number of announcements.
    """
    return f"{queue}.due"


def longest_countdown(celery: Celery) -> float:
    """Return the seconds for which a worker may hold a delayed message."""
    options = celery.conf.broker_transport_options
    return float(min(_LONGEST_COUNTDOWN, options.get("visibility_timeout", math.inf) / 2))


def _is_amqp(url: str | None) -> bool:
    return (url or "").startswith(("amqp://", "amqps://", "pyamqp://"))


def _transport_options(
    settings: CelerySettings, task_settings: TaskSettings, tasks: Iterable[Task[..., Any]]
) -> dict[str, Any]:
    timeout = settings.publish_timeout
    if _is_amqp(settings.broker):
        return {"confirm_publish": True, "connect_timeout": timeout, "write_timeout": timeout}
    if settings.broker == "memory://":
        return {}
    if not (settings.broker or "").startswith(REDIS):
        msg = "CELERY_BROKER_URL: use redis:// (Valkey too), rediss://, amqp:// or amqps://"
        raise ValueError(msg)
    return {
        "visibility_timeout": _visibility(settings.visibility_timeout, task_settings, tasks),
        # By default all services on one Redis database share these keys, and the one with the
        # shortest timeout would redeliver the messages of the others.
        **{f"{key}_key": f"{settings.queue}.{key}" for key in _UNACKNOWLEDGED},
        # By default messages of lost workers are searched for every 100 seconds only.
        "unacked_restore_throttle": 1,
        # A worker killed during that search blocks it for all others, by default for five minutes.
        "unacked_mutex_expire": 10,
        "priority_steps": list(PRIORITIES),
        "socket_connect_timeout": timeout,
        # A worker waits one second for messages: a shorter timeout would fail each time.
        "socket_timeout": max(timeout, 1.5),
        "socket_keepalive": True,
    }


def _visibility(
    configured: float | None, settings: TaskSettings, tasks: Iterable[Task[..., Any]]
) -> float:
    timeouts = [(task.overridden(settings).timeout or 0.0, task.name) for task in tasks]
    longest, name = max([(settings.default_timeout, "TASKS_DEFAULT_TIMEOUT"), *timeouts])
    least = (_ENDLESS if math.isinf(longest) else longest) + settings.drain_timeout
    if configured is not None and configured < least:
        msg = (
            f"CELERY_VISIBILITY_TIMEOUT: {configured:g} s is less than the longest timeout "
            f"({name}) plus TASKS_DRAIN_TIMEOUT, {least:g} s: tasks would run twice at a time"
        )
        raise ValueError(msg)
    return least + _MARGIN if configured is None else configured
