"""The Celery engine: the same tasks on worker processes, over Redis, Valkey or RabbitMQ.

- `runner.py` is the engine in every process, `publisher.py` sends messages to the broker,
  `message.py` defines them, `broker.py` configures Celery
- `worker.py` receives messages from Celery on a worker, `execution.py` runs them as jobs there
- `durable.py` announces durable tasks, whose rows stay in the database, to workers and runs them
- `limits.py` limits tasks across workers, `states.py` keeps their states, `settings.py` CELERY_*
"""

from .broker import make_celery
from .publisher import BrokerUnavailable
from .runner import CeleryRunner
from .settings import CelerySettings

__all__ = ["BrokerUnavailable", "CeleryRunner", "CelerySettings", "make_celery"]
