"""Publishes messages from a thread of its own, so that no broker can hold up a request."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from time import monotonic

from celery import Celery
from kombu import Connection, Producer
from redis.exceptions import RedisError

from ..info import TaskState
from ..redaction import describe_error
from .broker import broker_priority
from .message import Message
from .states import Note, TaskStates

logger = logging.getLogger(__name__)

_PROBE_INTERVAL = 1.0
"""Seconds between two looks at a broker to which nothing is sent."""
_RETRY_INTERVAL = 0.25
"""Seconds between two attempts while the broker is away."""
_LONGEST_COUNTDOWN = 60.0
"""Seconds. Redis gives a message to a second worker when it waits for longer than its visibility
timeout, so that one that is due later is sent again on the way."""
_BATCH = 100
"""Messages whose states are written at once."""


def publish(celery: Celery, message: Message, producer: Producer | None = None) -> None:
    """Send a message to the queue; blocks.

    Raises kombu's OperationalError, or what the transport raises, when the broker is away.
    """
    delay = message.delay
    celery.send_task(
        message.name,
        args=[message.payload()],
        task_id=message.id,
        countdown=min(delay, _LONGEST_COUNTDOWN) if delay > 0 else None,
        priority=broker_priority(celery, message.priority),
        queue=celery.conf.task_default_queue,
        argsrepr=repr(message.arguments),
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
        self._waiting: deque[Message] = deque()
        self._batch: deque[Message] = deque()
        """What is being sent: its states say so, and nobody can take it back any more."""
        self._withdrawn: list[Note] = []
        self._sent: dict[str, Callable[[], None]] = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._last_chance_taken = False
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._work, name="task-publisher", daemon=True)
        self.available = False
        """Whether the broker answered the last time."""
        self.probed = threading.Event()
        """Set when `available` means something."""

    def start(self) -> None:
        """Begin to look for the broker."""
        self._thread.start()

    def put(self, message: Message, sent: Callable[[], None] | None = None) -> None:
        """Send `message` as soon as possible and then call `sent`; works from any thread."""
        with self._wake:
            self._waiting.append(message)
            if sent is not None:
                self._sent[message.id] = sent
            self._wake.notify_all()

    @property
    def pending(self) -> int:
        """How many messages the broker does not have yet."""
        return len(self._waiting) + len(self._batch)

    def find(self, task_id: str) -> Note | None:
        """Return the state of a message that has not been sent, while nobody else has it."""
        with self._wake:
            queued = (Note(m, TaskState.QUEUED) for m in chain(self._batch, self._waiting))
            notes = chain(queued, self._withdrawn)
            return next((note for note in notes if note.message.id == task_id), None)

    def withdraw(self, task_id: str) -> bool:
        """Take back a message that waits; False if it is on its way, or not here."""
        with self._wake:
            message = next((m for m in self._waiting if m.id == task_id), None)
            if message is None:
                return False
            self._waiting.remove(message)
            self._withdrawn.append(Note(message, TaskState.CANCELLED))
            self._wake.notify_all()
        self._done_with(message)
        return True

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
        self._probe()
        self.probed.set()
        while self._next_is_due():
            if self._waiting:
                self._send_batch()
            else:
                self._probe()
            if self.available:
                self._note_withdrawn()
        self._disconnect()

    def _next_is_due(self) -> bool:
        """Wait for a message or for the time to look at the broker; False at the end."""
        with self._wake:
            pause = 0.0 if self.available and self._waiting else _PROBE_INTERVAL
            if not self.available:
                pause = _RETRY_INTERVAL
            if pause and not self._stopping:
                self._wake.wait(pause)
            if not self._stopping:
                return True
            worth_it = self.available or not self._last_chance_taken
            self._last_chance_taken = True
            return bool(self._waiting) and worth_it and monotonic() < self._deadline

    def _send_batch(self) -> None:
        with self._wake:
            while self._waiting and len(self._batch) < _BATCH:
                self._batch.append(self._waiting.popleft())
        try:
            producer = self._connected()
            # Before they are sent: a worker may be quick, and its word is the later one.
            self._note([Note(message, TaskState.QUEUED) for message in self._batch])
            while self._batch:
                publish(self._celery, self._batch[0], producer)
                with self._wake:
                    message = self._batch.popleft()
                    self._wake.notify_all()
                self._done_with(message)
        except Exception as error:  # noqa: BLE001 - transports raise errors of many kinds
            with self._wake:
                self._waiting.extendleft(reversed(self._batch))
                self._batch.clear()
            self._set_available(error)
        else:
            self._set_available(None)

    def _note_withdrawn(self) -> None:
        notes = self._withdrawn.copy()
        if self._note(notes):
            with self._wake:
                del self._withdrawn[: len(notes)]

    def _note(self, notes: Sequence[Note]) -> bool:
        """Write states down, if they are kept here; say whether that is settled."""
        notes = [note for note in notes if not note.message.durable]  # the table has theirs
        if self._states is None or not notes:
            return True
        try:
            self._states.save(notes)
        except (OSError, RedisError):  # perhaps it is not the broker, which may be there
            logger.warning("the states of %d tasks are not kept", len(notes))
            return False
        return True

    def _done_with(self, message: Message) -> None:
        sent = self._sent.pop(message.id, None)
        if sent is not None:
            sent()

    def _probe(self) -> None:
        try:
            self._disconnect()  # a connection that is only kept says nothing about the broker
            self._connected()
        except Exception as error:  # noqa: BLE001
            self._set_available(error)
        else:
            self._set_available(None)

    def _connected(self) -> Producer:
        # Not Celery's pool: after a failure it may wait for ever for a connection that it lost.
        if self._connection is None:
            self._connection = self._celery.connection_for_write()
            self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=1)
            self._producer = self._celery.amqp.Producer(self._connection, auto_declare=False)
        return self._producer

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _set_available(self, error: Exception | None) -> None:
        if error is None:
            if not self.available:
                logger.info("the broker is there")
            self.available = True
        else:
            if self.available or not self.probed.is_set():
                logger.error("the broker cannot be reached: %s", describe_error(error))
            self.available = False
            self._disconnect()
