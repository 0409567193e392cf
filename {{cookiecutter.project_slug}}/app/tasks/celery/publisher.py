"""Publishes messages from a thread of its own, so that no broker can hold up a request."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from celery import Celery
from kombu import Connection, Producer
from redis.exceptions import RedisError

from ..info import TaskState
from .broker import broker_priority
from .message import Message
from .states import TaskStates

logger = logging.getLogger(__name__)

_PROBE_INTERVAL = 1.0
"""Seconds between two looks at a broker to which nothing is sent."""
_RETRY_INTERVAL = 0.25
"""Seconds between two attempts while the broker is away."""
_LONGEST_COUNTDOWN = 60.0
"""Seconds. Redis gives a message to a second worker when it waits for longer than its visibility
timeout, so that one that is due later is sent again on the way."""


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
        self._sent: dict[str, Callable[[], None]] = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._busy = False
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
        return len(self._waiting)

    def find(self, task_id: str) -> Message | None:
        """Return a message that the broker does not have yet."""
        return next((m for m in self._waiting.copy() if m.id == task_id), None)

    def withdraw(self, task_id: str) -> Message | None:
        """Take back a message that the broker does not have yet."""
        with self._wake:
            message = self.find(task_id)
            if message is None or (self._busy and message is self._waiting[0]):
                return None
            self._waiting.remove(message)
        self._done_with(message)
        return message

    def wait_until_empty(self, timeout: float | None = None) -> bool:
        """Block until the broker has everything; False if that takes longer than `timeout`."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._waiting, timeout)

    def stop(self, timeout: float) -> list[Message]:
        """Send what waits, for up to `timeout` seconds; return what could not be sent."""
        with self._wake:
            self._stopping = True
            self._deadline = monotonic() + timeout
            self._wake.notify_all()
        self._thread.join(timeout + 2 * _PROBE_INTERVAL)
        return list(self._waiting)

    def _work(self) -> None:
        self._probe()
        self.probed.set()
        while self._next_is_due():
            if self._waiting:
                self._send_first()
            else:
                self._probe()
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
            return bool(self._waiting) and monotonic() < self._deadline

    def _send_first(self) -> None:
        with self._wake:
            message, self._busy = self._waiting[0], True
        try:
            # Before it is sent: the worker may be quick, and its word is the later one.
            self._note(message)
            publish(self._celery, message, self._connected())
        except Exception as error:  # noqa: BLE001 - transports raise errors of many kinds
            self._set_available(error)
            return
        finally:
            self._busy = False
        with self._wake:
            self._waiting.popleft()
            self._wake.notify_all()
        self._done_with(message)
        self._set_available(None)

    def _note(self, message: Message) -> None:
        if self._states is None or message.durable:
            return
        try:
            self._states.save(message, TaskState.QUEUED)
        except (OSError, RedisError):  # perhaps it is not the broker, which may be there
            logger.warning("the state of task %s (%s) is not kept", message.name, message.id)

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
                logger.error("the broker cannot be reached: %s", error)
            self.available = False
            self._disconnect()
