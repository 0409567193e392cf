"""The Celery application: how messages are queued, ordered and kept."""

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
"""Seconds between the end of the longest run and the time at which Redis delivers it anew."""
_LONGEST_COUNTDOWN = 600.0
"""Seconds for which a worker holds a message that is due later; it is sent anew on the way, and
that is no work as long as these are many. RabbitMQ wants its messages back after 30 minutes."""
_ENDLESS = 6 * 3600.0
"""Seconds of visibility if a task has no timeout; a longer run begins a second time on Redis."""
_UNACKNOWLEDGED = ("unacked", "unacked_index", "unacked_mutex")
"""Where Redis has what workers have got and not acknowledged."""


def make_celery(
    settings: CelerySettings, task_settings: TaskSettings, tasks: Iterable[Task[..., Any]] = ()
) -> Celery:
    """Make the application that publishes and consumes; connects to nothing yet.

    `tasks` decide how long a message may stay with a worker. Raises ValueError if the settings
    allow less, since Redis would deliver it to a second worker beside the first, or name a broker
    that is not supported.
    """
    celery = Celery("tasks", broker=settings.broker, set_as_current=False)
    if (settings.broker or "").startswith("rediss://"):
        # kombu itself would not ask who answers. `?ssl_cert_reqs=none` in the URL still says so.
        celery.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    arguments = {"x-max-priority": _LAST} if _is_amqp(settings.broker) else None
    celery.conf.update(
        task_default_queue=settings.queue,
        task_queues=[
            Queue(name, routing_key=name, queue_arguments=arguments)
            for name in (settings.queue, announcements_in(settings.queue))
        ],
        # At least once: a message stays with the broker until its task has ended.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options=_transport_options(settings, task_settings, tasks),
        broker_connection_timeout=settings.publish_timeout,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # or a Redis that is full would end workers
        # The states of tasks are written by the engine, with what Celery does not know.
        task_ignore_result=True,
        worker_concurrency=task_settings.max_concurrency,
        worker_pool=settings.pool,  # Celery passes over `--pool prefork` where a pool is set
    )
    return celery


def broker_priority(celery: Celery, priority: int) -> int:
    """Return what this broker calls our `priority` (0 is the most urgent, 9 the least).

    Redis serves 0 first, RabbitMQ 9. Every message gets one: without it a task would be the first
    of all on Redis and the last on RabbitMQ.
    """
    known = min(max(priority, 0), _LAST)  # another release may know more of them
    return _LAST - known if _is_amqp(celery.conf.broker_url) else known


def announcements_in(queue: str) -> str:
    """Return the name of the queue that says which durable tasks are due.

    It is one of its own so that its length can be compared with the table.
    """
    return f"{queue}.due"


def longest_countdown(celery: Celery) -> float:
    """Return the seconds for which a worker may hold a message before it is due."""
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
        msg = "CELERY_BROKER_URL: it begins with redis:// (Valkey too), rediss://, amqp:// or amqps://"
        raise ValueError(msg)
    return {
        "visibility_timeout": _visibility(settings.visibility_timeout, task_settings, tasks),
        # By default all services on one database of Redis share these, so that the one with the
        # shortest timeout would deliver the messages of the others anew.
        **{f"{key}_key": f"{settings.queue}.{key}" for key in _UNACKNOWLEDGED},
        # Otherwise messages of lost workers are sought every 100 seconds only.
        "unacked_restore_throttle": 1,
        # Who is killed while it seeks keeps all others from it, by default for five minutes.
        "unacked_mutex_expire": 10,
        "priority_steps": list(PRIORITIES),
        "socket_connect_timeout": timeout,
        # A worker waits a second for messages, so that less would be a failure.
        "socket_timeout": max(timeout, 1.5),
        "socket_keepalive": True,
    }


def _visibility(
    chosen: float | None, settings: TaskSettings, tasks: Iterable[Task[..., Any]]
) -> float:
    timeouts = [task.overridden(settings).timeout or 0.0 for task in tasks]
    longest = max([settings.default_timeout, *timeouts])
    least = (_ENDLESS if math.isinf(longest) else longest) + settings.drain_timeout
    if chosen is not None and chosen < least:
        msg = (
            f"CELERY_VISIBILITY_TIMEOUT: {chosen:g} s is less than the longest timeout of a task "
            f"and TASKS_DRAIN_TIMEOUT together, {least:g} s: tasks would run twice, side by side"
        )
        raise ValueError(msg)
    return least + _MARGIN if chosen is None else chosen
