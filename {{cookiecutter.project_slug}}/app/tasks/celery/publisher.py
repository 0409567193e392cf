"""Publishes messages from a thread of its own, so that no broker can hold up a request."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from time import monotonic, time
from typing import Any

from celery import Celery
from kombu import Connection, Producer
from redis.exceptions import RedisError

from ..info import TaskRecord, TaskState
from ..redaction import describe_error, redact
from .broker import announcements_in, broker_priority, longest_countdown
from .message import Message
from .states import TaskStates, record_of

logger = logging.getLogger(__name__)

_PROBE_INTERVAL = 1.0
"""Seconds between two questions to a broker to which nothing is sent."""
_RETRY_INTERVAL = 0.25
"""Seconds between two attempts while the broker is away."""
_BATCH = 100
"""Messages whose states are written at once."""
_REMEMBERED = 1000
"""Cancelled tasks of which this process can still tell."""
_SHOWN = 500
"""Characters of the arguments that Flower shows."""


def publish(celery: Celery, message: Message, producer: Producer | None = None) -> None:
    """Send a message to its queue; blocks.

    Raises kombu's OperationalError, or what the transport raises, when the broker is away.
    """
    delay, queue = message.delay, celery.conf.task_default_queue
    celery.send_task(
        message.name,
        args=[message.payload()],
        task_id=message.id,
        countdown=min(delay, longest_countdown(celery)) if delay > 0 else None,
        priority=broker_priority(celery, message.priority),
        queue=announcements_in(queue) if message.durable else queue,
        argsrepr=redact(repr(message.arguments), _SHOWN),
        retry=False,
        add_to_parent=False,
        producer=producer,
    )


class BrokerConnection:
    """One connection to the broker, kept as long as it answers. Not thread-safe."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._connection: Connection | None = None

    def producer(self) -> Producer:
        """Return a producer on the connection, which is made if there is none."""
        # Not Celery's pool: after a failure it may wait for ever for a connection that it lost.
        if self._connection is None:
            # A worker may wait for ever for a message; this one is always owed an answer.
            options = {"read_timeout": 2 * self._celery.conf.broker_connection_timeout}
            self._connection = self._celery.connection_for_write(transport_options=options)
            self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=1)
            self._producer = self._celery.amqp.Producer(self._connection, auto_declare=False)
        return self._producer

    def announced(self) -> int:
        """Return how many announcements wait at the broker; raises if it does not answer."""
        channel: Any = self.producer().channel  # the stubs allow it to be missing
        queue = self._celery.amqp.queues[announcements_in(self._celery.conf.task_default_queue)]
        # Declared anew, since a broker may have lost it, and for Redis an empty one is none.
        answer = channel.queue_declare(
            queue=queue.name,
            durable=queue.durable,
            auto_delete=queue.auto_delete,
            arguments=queue.queue_arguments,
        )
        return int(answer.message_count)

    def close(self) -> None:
        """Close the connection; the next use makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()


class Publisher:
    """Sends messages in the order in which they came, and knows whether the broker is there.

    What was accepted is kept until the broker has it; `available` says beforehand whether to
    accept. Nothing here blocks the caller.
    """

    def __init__(self, celery: Celery, states: TaskStates | None = None) -> None:
        self._celery = celery
        self._states = states
        self._connection = BrokerConnection(celery)
        self._in_use = threading.Lock()
        """Held by the thread that uses the connection."""
        self._waiting: deque[Message] = deque()
        self._batch: deque[Message] = deque()
        """What is being sent: its states say so, and nobody can take it back any more."""
        self._withdrawn: deque[TaskRecord] = deque(maxlen=_REMEMBERED)
        self._sent: dict[str, Callable[[], None]] = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="task-publisher", daemon=True)
        self.available = False
        """Whether the broker answered the last time."""
        self.probed = threading.Event()
        """Set when `available` means something."""

    def start(self) -> None:
        """Begin to seek the broker."""
        self._thread.start()

    def put(self, message: Message, sent: Callable[[], None] | None = None) -> None:
        """Send `message` as soon as possible and then call `sent`; works from any thread."""
        with self._wake:
            self._waiting.append(message)
            if sent is not None:
                self._sent[message.id] = sent
            self._wake.notify_all()

    async def announced(self) -> int | None:
        """Return how many announcements are sent or about to be; None if nobody can say."""
        return await asyncio.to_thread(self._ask)

    @property
    def pending(self) -> int:
        """How many messages the broker does not have yet."""
        return len(self._waiting) + len(self._batch)

    def find(self, task_id: str) -> TaskRecord | None:
        """Return the state of a task that the broker may not have got yet, or was not to get."""
        with self._wake:
            for message in chain(self._batch, self._waiting):
                if message.id == task_id:
                    return record_of(message, TaskState.QUEUED)
            return next((record for record in self._withdrawn if record.id == task_id), None)

    def withdraw(self, task_id: str) -> Message | None:
        """Take back a task that waits; None if it is on its way, durable, or not here."""
        with self._wake:
            waiting = (m for m in self._waiting if m.id == task_id and not m.durable)
            message = next(waiting, None)
            if message is None:
                return None
            self._waiting.remove(message)
            self._withdrawn.append(record_of(message, TaskState.CANCELLED, finished_at=time()))
            self._wake.notify_all()
        self._done_with(message)
        return message

    def wait_until_empty(self, timeout: float | None = None) -> bool:
        """Block until the broker has everything; False if that takes longer than `timeout`."""
        with self._wake:
            return self._wake.wait_for(lambda: not self.pending, timeout)

    def stop(self, timeout: float) -> list[Message]:
        """Send what waits, for up to `timeout` seconds; return what could not be sent.

        A broker that is away gets one more chance.
        """
        with self._wake:
            self._stopping = True
            self._deadline = monotonic() + timeout
            self._wake.notify_all()
        self._thread.join(timeout + 2 * _PROBE_INTERVAL)
        return [*self._batch, *self._waiting]

    def _work(self) -> None:
        self._ask()
        self.probed.set()
        while self._wait():
            if self._waiting:
                self._send_batch()
            else:
                self._ask()
        self._send_the_rest()
        self._connection.close()

    def _wait(self) -> bool:
        """Wait for something to do or for the time to ask the broker; False at the end."""
        with self._wake:
            if not (self.available and self._waiting) and not self._stopping:
                self._wake.wait(_PROBE_INTERVAL if self.available else _RETRY_INTERVAL)
            return not self._stopping

    def _send_the_rest(self) -> None:
        while self._waiting and monotonic() < self._deadline:
            self._send_batch()
            if not self.available:  # it has had one more chance
                return

    def _send_batch(self) -> None:
        with self._in_use:
            try:
                producer = self._connection.producer()
                # Not before there is one: meanwhile what waits can be withdrawn.
                self._take_batch()
                # Before they are sent: a worker may be quick, and its word is the later one.
                self._note(self._batch)
                while self._batch:
                    publish(self._celery, self._batch[0], producer)
                    self._sent_first()
            except Exception as error:  # noqa: BLE001 - transports raise errors of many kinds
                with self._wake:
                    self._waiting.extendleft(reversed(self._batch))
                    self._batch.clear()
                self._set_available(error)
            else:
                self._set_available(None)

    def _take_batch(self) -> None:
        with self._wake:
            while self._waiting and len(self._batch) < _BATCH:
                self._batch.append(self._waiting.popleft())

    def _sent_first(self) -> None:
        with self._wake:
            message = self._batch.popleft()
            self._wake.notify_all()
        self._done_with(message)

    def _ask(self) -> int | None:
        """Ask the broker for what has to be known anyway: a connection alone says nothing."""
        with self._in_use:
            with self._wake:
                unsent = sum(message.durable for message in self._waiting)
            try:
                depth = self._connection.announced()
            except Exception as error:  # noqa: BLE001 - see above
                self._set_available(error)
                return None
            self._set_available(None)
            return depth + unsent

    def _note(self, messages: Iterable[Message]) -> None:
        """Write down that messages are queued, if states are kept here."""
        records = [record_of(m, TaskState.QUEUED) for m in messages if not m.durable]
        if self._states is None or not records:
            return
        try:
            self._states.save(records)
        except RedisError:  # perhaps it is not the broker, which may be there
            logger.warning("the states of %d tasks are not kept", len(records))

    def _done_with(self, message: Message) -> None:
        sent = self._sent.pop(message.id, None)
        if sent is not None:
            sent()

    def _set_available(self, error: Exception | None) -> None:
        if error is None:
            if not self.available:
                logger.info("the broker is there")
            self.available = True
        else:
            if self.available or not self.probed.is_set():
                logger.error("the broker cannot be reached: %s", describe_error(error))
            self.available = False
            self._connection.close()
