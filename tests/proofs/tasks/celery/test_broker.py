"""How Celery is configured for each broker."""

import math
import time
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic import SecretStr

from app.tasks import Priority, Task, TaskSettings, task
from app.tasks.celery import CeleryRunner, CelerySettings, make_celery
from app.tasks.celery.broker import broker_priority, longest_countdown
from app.tasks.settings import TaskOverride
from waiting import wait_until

from .brokers import Valkey


@task(name="long", timeout=500)
async def long() -> None: ...


@task(name="endless", timeout=math.inf)
async def endless() -> None: ...


def settings(url: str, visibility: float | None = None) -> CelerySettings:
    return CelerySettings(broker_url=SecretStr(url), visibility_timeout=visibility)


@pytest.mark.parametrize(
    ("tasks", "overrides", "seconds"),
    [
        ([], {}, 380),
        ([long], {}, 580),
        ([long], {"long": TaskOverride(timeout=900)}, 980),
        ([long], {"long": TaskOverride(timeout=400)}, 480),
        ([long, endless], {}, 6 * 3600 + 80),
    ],
)
def test_the_visibility_timeout_of_redis_exceeds_the_longest_task(
    tasks: list[Task[..., None]], overrides: dict[str, TaskOverride], seconds: float
) -> None:
    limits = TaskSettings(overrides=overrides)
    options = make_celery(settings("redis://host"), limits, tasks).conf.broker_transport_options
    assert options["visibility_timeout"] == seconds
    configured = make_celery(settings("redis://host", seconds - 60), limits, tasks)
    assert configured.conf.broker_transport_options["visibility_timeout"] == seconds - 60
    longest = tasks[-1].name if tasks else "TASKS_DEFAULT_TIMEOUT"
    with pytest.raises(ValueError, match=rf"CELERY_VISIBILITY_TIMEOUT: .* \({longest}\) .* twice"):
        make_celery(settings("redis://host", seconds - 61), limits, tasks)


def test_a_periodic_task_on_workers_must_be_durable() -> None:
    daily = task(name="daily", schedule="0 9 * * *")(long.func)
    with pytest.raises(ValueError, match=r"needs durable=True: daily"):
        CeleryRunner(TaskSettings(), celery_settings=settings("redis://host"), tasks=[long, daily])


@pytest.mark.parametrize("url", ["valkey://:secret@host", "sqs://", "localhost:6379"])
def test_an_unsupported_broker_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^CELERY_BROKER_URL: use redis://.*amqps://$"):
        make_celery(settings(url), TaskSettings())


def test_brokers_other_than_redis_have_no_visibility_timeout() -> None:
    options = make_celery(settings("amqp://host", 1.0), TaskSettings()).conf
    assert "visibility_timeout" not in options.broker_transport_options


@pytest.mark.parametrize(
    ("url", "urgent", "idle"),
    [("redis://host", 0, 9), ("rediss://host", 0, 9), ("amqp://host", 9, 0)],
)
def test_priorities_are_translated_for_every_broker(url: str, urgent: int, idle: int) -> None:
    celery = make_celery(settings(url), TaskSettings())
    assert broker_priority(celery, Priority.URGENT) == urgent
    assert broker_priority(celery, Priority.IDLE) == idle


@pytest.mark.parametrize(("url", "seconds"), [("redis://host", 190), ("amqp://host", 600)])
def test_a_message_due_in_days_is_resent_every_few_minutes(url: str, seconds: float) -> None:
    assert longest_countdown(make_celery(settings(url), TaskSettings())) == seconds


def test_a_service_does_not_restore_messages_of_another_on_its_redis(valkey: Valkey) -> None:
    def take_one(queue: str, timeout: float) -> Any:
        limits = TaskSettings(default_timeout=timeout, drain_timeout=0)
        values = {"broker_url": valkey.url, "queue": queue, "visibility_timeout": timeout}
        celery = opened.enter_context(make_celery(CelerySettings.model_validate(values), limits))
        celery.send_task("any", queue=queue)
        channel: Any = opened.enter_context(celery.connection_for_read()).channel()
        assert channel.basic_get(queue) is not None
        return channel

    with ExitStack() as opened, valkey.client() as client:
        take_one("slow", 500.0)
        channel = take_one("quick", 0.1)
        taken = time.time()
        wait_until(lambda: time.time() > taken + 0.1)
        channel.qos.restore_visible()
        assert (client.llen("quick"), client.llen("slow")) == (1, 0)
