"""The part of a worker that takes messages from the broker, made to survive what may break it."""

import logging
from typing import Any

from celery.worker import consumer

from ..redaction import describe_error

logger = logging.getLogger(__name__)


class Consumer(consumer.Consumer):
    """Connects anew also after errors that Celery does not expect, and for which it would end.

    Such are a message that is not even JSON, and some ways in which a broker can be lost.
    """

    connection_errors: tuple[type[BaseException], ...]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A worker need not know of the others. What listens to them fills the log with a traceback
        # when the broker is lost, and to ask for them takes a second at the start.
        super().__init__(*args, without_gossip=True, without_mingle=True, **kwargs)
        self.connection_errors += (ValueError, LookupError, TypeError, AttributeError)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close what is left of the connection, as far as that is possible."""
        try:
            super().on_connection_error_after_connected(exc)
        except self.connection_errors as error:
            # Celery lets kombu close the connection twice. Where the first time fails, since Redis
            # is away, the second misses what the first has taken apart (an AttributeError).
            logger.warning("the connection was not closed in full: %s", describe_error(error))
