"""The Celery engine: the same tasks on worker processes, over Redis, Valkey or RabbitMQ.

- `runner.py` the front in every process, `publisher.py` the way to the broker, `message.py` what
  is sent, `broker.py` how Celery is set up
- `worker.py` the way from the broker to the tasks, `delivery.py` when a message is done with
- `durable.py` durable tasks, whose rows stay in the database
- `limits.py` limits across workers, `states.py` what became of tasks
- `settings.py` CELERY_*, `errors.py` what can go wrong
"""

from .broker import make_celery
from .errors import BrokerUnavailable
from .runner import CeleryRunner
from .settings import CelerySettings
from .worker import Worker

__all__ = ["BrokerUnavailable", "CeleryRunner", "CelerySettings", "Worker", "make_celery"]
