"""The Celery engine: the same tasks on worker processes, over Redis, Valkey or RabbitMQ.

- `runner.py` the engine, in every process; `publisher.py` the way to the broker, `message.py` what
  is sent, `broker.py` how Celery is set up
- `worker.py` what Celery calls on a worker, `execution.py` how a message becomes a job there
- `durable.py` durable tasks, whose rows stay in the database, and how workers are told of them
- `limits.py` limits across workers, `states.py` what became of tasks, `settings.py` CELERY_*
"""

from .broker import make_celery
from .publisher import BrokerUnavailable
from .runner import CeleryRunner
from .settings import CelerySettings

__all__ = ["BrokerUnavailable", "CeleryRunner", "CelerySettings", "make_celery"]
