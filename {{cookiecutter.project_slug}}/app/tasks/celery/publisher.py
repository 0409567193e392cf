"""Publishes messages from a thread of its own, so that no broker can hold up a request."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any

from celery import Celery
from kombu import Connection, Producer

from ..errors import TaskNotAccepted
from ..info import TaskRecord, TaskState
from ..redaction import describe_error, redact
from .broker import announcements_in, broker_priority, longest_countdown
from .message import Message
from .states import TaskStates, record_of

logger = logging.getLogger(__name__)

_PROBE_INTERVAL = 0.5
"""Seconds between two questions to a broker to which nothing is sent, or that is away."""
_BATCH = 100
"""Messages whose states are written at once."""
_SHOWN = 500
"""Characters of the arguments that Flower shows."""


class BrokerUnavailable(TaskNotAccepted):
    """The broker cannot be reached, so that the task could not be kept. Try again later.

    Durable tasks are accepted all the same: their rows wait in the database.
    """


def publish(celery: Celery, message: Message, producer: Producer | None = None) -> None:
    """Send a message to its queue; blocks.

    Raises kombu's OperationalError, or what the transport raises, when the broker is away.
    """
    delay, queue = message.delay, celery.conf.task_default_queue
    celery.send_task(
        message.name,
        args=[message.model_dump(exclude_defaults=True)],
        task_id=message.id,
        countdown=min(delay, longest_countdown(celery)) if delay > 0 else None,
        priority=broker_priority(celery, message.priority),
        queue=announcements_in(queue) if message.durable else queue,
        argsrepr=redact(repr(message.arguments), _SHOWN),
        retry=False,
        add_to_parent=False,
        producer=producer,
    )


class Publisher:
    """Sends messages in the order in which they came, and knows whether the broker is there.

    What was accepted is kept until the broker has it; `available` says beforehand whether to
    accept. Nothing here blocks the caller.
    """

    def __init__(self, celery: Celery, states: TaskStates | None = None) -> None:
        self._celery = celery
        self._states = states
        self._connection: Connection | None = None
        self._in_use = threading.Lock()
        """Held by the thread that uses the connection."""
        self._waiting: deque[tuple[Message, Callable[[], None]]] = deque()
        """Each with what is called when the broker has it."""
        self._batch: deque[tuple[Message, Callable[[], None]]] = deque()
        """What is being sent: its states say so."""
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="task-publisher", daemon=True)
        self.available = True
        """Whether the broker answered the last time."""

    def start(self) -> None:
        """Seek the broker once, which blocks, and go on with it in the thread."""
        self._use_broker(self._count_announced)
        self._thread.start()

    def put(self, message: Message, sent: Callable[[], None] = lambda: None) -> None:
        """Send `message` as soon as possible and then call `sent`; works from any thread."""
        with self._changed:
            self._waiting.append((message, sent))
            self._changed.notify_all()

    async def announced(self) -> int | None:
        """Return how many are sent, and all that is about to be; None if nobody can say."""
        return await asyncio.to_thread(self._use_broker, self._count_announced)

    @property
    def pending(self) -> int:
        """How many messages the broker does not have yet."""
        return len(self._waiting) + len(self._batch)

    def find(self, task_id: str) -> TaskRecord | None:
        """Return the state of a task that the broker may not have got yet."""
        with self._changed:
            unsent = (message for message, _ in chain(self._batch, self._waiting))
            found = next((message for message in unsent if message.id == task_id), None)
        return None if found is None else record_of(found, TaskState.QUEUED)

    def wait_until_empty(self, timeout: float | None) -> None:
        """Block until the broker has everything, for up to `timeout` seconds.

        The stop ends it too: a process does not end before its threads.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or not self.pending, timeout)

    def stop(self, timeout: float) -> list[Message]:
        """Send what waits, for up to `timeout` seconds; return what could not be sent.

        Nobody waits for a broker that is away.
        """
        if self.available:
            self.wait_until_empty(timeout)
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(2.0)
        return [message for message, _ in (*self._batch, *self._waiting)]

    def _work(self) -> None:
        while self._wait():
            self._use_broker(self._send if self._waiting else self._count_announced)
        self._disconnect()

    def _wait(self) -> bool:
        """Wait for something to do or for the time to ask the broker; False at the end."""
        with self._changed:
            if not (self.available and self._waiting) and not self._stopping:
                self._changed.wait(_PROBE_INTERVAL)
            return not self._stopping

    def _use_broker(self, step: Callable[[Producer], int]) -> int | None:
        """Do something with the broker; None if that failed."""
        with self._in_use:
            try:
                result = step(self._producer())
            except Exception as error:  # noqa: BLE001 - transports raise errors of many kinds
                self._note_failure(error)
                return None
            if not self.available:
                logger.info("the broker is there")
            self.available = True
            return result

    def _producer(self) -> Producer:
        """Return a producer on the connection, which is kept as long as the broker answers."""
        # Not Celery's pool: after a failure it may wait for ever for a connection that it lost.
        if self._connection is None:
            # A worker may wait for ever for a message; this one is always owed an answer.
            options = {"read_timeout": 2 * self._celery.conf.broker_connection_timeout}
            self._connection = self._celery.connection_for_write(transport_options=options)
            self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=1)
            self._kept = self._celery.amqp.Producer(self._connection, auto_declare=False)
        return self._kept

    def _send(self, producer: Producer) -> int:
        """Send some of what waits; return how many that were."""
        with self._changed:
            count = min(len(self._waiting), _BATCH)
            self._batch.extend(self._waiting.popleft() for _ in range(count))
        if self._states is not None:
            # Before they are sent: a worker may be quick, and its word is the later one. So is that
            # of who has cancelled a task by now.
            in_memory = [message for message, _ in self._batch if not message.durable]
            queued = [record_of(message, TaskState.QUEUED) for message in in_memory]
            self._states.save(queued, first=True)
        while self._batch:
            publish(self._celery, self._batch[0][0], producer)
            with self._changed:
                _, sent = self._batch.popleft()
                if not self.pending:  # to be woken for each would cost as much as to send it
                    self._changed.notify_all()
            sent()
        return count

    def _count_announced(self, producer: Producer) -> int:
        """Ask the broker for what has to be known anyway: a connection alone says nothing."""
        channel: Any = producer.channel  # the stubs allow it to be missing
        queue = self._celery.amqp.queues[announcements_in(self._celery.conf.task_default_queue)]
        # Declared anew, since a broker may have lost it, and for Redis an empty one is none.
        answer = channel.queue_declare(
            queue=queue.name,
            durable=queue.durable,
            auto_delete=queue.auto_delete,
            arguments=queue.queue_arguments,
        )
        return self.pending + int(answer.message_count)

    def _note_failure(self, error: Exception) -> None:
        with self._changed:
            self._waiting.extendleft(reversed(self._batch))
            self._batch.clear()
        if self.available:
            logger.error("the broker cannot be reached: %s", describe_error(error))
        self.available = False
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()
