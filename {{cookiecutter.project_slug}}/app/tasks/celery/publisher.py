"""Publishes messages outside of requests, so that no request waits for the broker."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

from celery import Celery
from kombu import Connection, Producer

from ..errors import TaskNotAccepted
from ..info import TaskRecord
from ..loop import Loop
from ..redaction import describe_error, redact
from .broker import announcements_in, broker_priority, longest_countdown
from .message import AS_DATA, Message
from .states import TaskStates

logger = logging.getLogger(__name__)

_PROBE_INTERVAL = 0.5
"""Seconds between two checks of a broker that is away, or to which nothing is sent."""
_BATCH = 100
"""Messages that are sent, and whose states are written, at once."""
SHOWN = 500
"""Characters of arguments that Flower shows, and of a dead letter that is logged."""


class BrokerUnavailable(TaskNotAccepted):
    """The broker cannot be reached, so the task was not accepted. Try again later.

    Durable tasks are accepted even then: their rows wait in the database.
    """


def publish(celery: Celery, message: Message, producer: Producer | None = None) -> None:
    """Send a message to its queue, and block until it is sent.

    Raises kombu's OperationalError, or an error of the transport, when the broker is away.
    """
    delay, queue = message.delay, celery.conf.task_default_queue
    celery.send_task(
        message.name,
        args=[AS_DATA.dump_python(message, exclude_defaults=True)],
        task_id=message.id,
        countdown=min(delay, longest_countdown(celery)) if delay > 0 else None,
        priority=broker_priority(celery, message.priority),
        queue=announcements_in(queue) if message.durable else queue,
        argsrepr=redact(message.arguments, SHOWN),
        retry=False,
        add_to_parent=False,
        producer=producer,
    )


class Publisher:
    """Sends messages in the order in which they were put, and knows whether the broker is there.

    A message is kept until the broker has it; `available` says whether to accept another. All
    calls to the broker are made in a thread, so that they do not block the event loop.
    """

    def __init__(self, celery: Celery, states: TaskStates) -> None:
        self._celery = celery
        self._states = states
        self._connection: Connection | None = None
        self._thread = ThreadPoolExecutor(1, "task-publisher")
        self.waiting: deque[Message] = deque()
        """The messages that the broker does not have yet, in order."""
        self._loop = Loop("publishing tasks", self._step, _PROBE_INTERVAL)
        self.available = True
        """Whether the broker answered, and took all messages, when it was last used."""
        self.idle = asyncio.Event()
        """Set while the broker has all messages, and at the end."""
        self.idle.set()
        self._ended = False
        """Whether the thread must stop sending: the process cannot end before its threads."""

    async def start(self) -> None:
        """Check once whether the broker is there, and start publishing."""
        await self.announced()
        self._publishing = asyncio.create_task(self._loop.run())

    def put(self, message: Message) -> None:
        """Send a message as soon as possible; call it on the event loop."""
        self.idle.clear()
        self.waiting.append(message)
        if self.available:
            self._loop.wake()

    async def announce(self, messages: Sequence[Message]) -> None:
        """Send messages at once; those that the broker does not take are put with the others."""
        unsent = deque(messages)
        await self._use_broker(partial(self._send, unsent))
        for message in unsent:
            self.put(message)

    async def announced(self) -> int | None:
        """Return how many announcements the broker has; None if it does not answer."""
        return await self._use_broker(self._count_announced)

    def find(self, task_id: str) -> TaskRecord | None:
        """Return the message of a task if the broker may not have it yet."""
        return next((message for message in self.waiting if message.id == task_id), None)

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 - of a shutdown
        """Send waiting messages for up to `timeout` seconds; log the tasks that are lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.idle.wait()
        self._loop.stop()
        await asyncio.wait((self._publishing,), timeout=2.0)
        self._ended = True
        self._thread.submit(self._disconnect)
        self._thread.shutdown(wait=False)
        self.idle.set()
        if lost := [message for message in self.waiting if not message.durable]:  # rows remain
            names = ", ".join(f"{message.name} ({message.id})" for message in lost)
            logger.error("%d tasks never reached the broker: %s", len(lost), names)

    async def _step(self) -> None:
        """Send a batch of waiting messages, or check whether the broker is there."""
        if not (self.available and self.waiting) and await self.announced() is None:
            return
        # A full broker answers the check, but takes no messages.
        if self.waiting and not await self._send_waiting():
            return
        if not self.available:
            logger.info("the broker can be reached again")
        self.available = True
        if self.waiting:
            self._loop.wake()
        else:
            self.idle.set()

    async def _send_waiting(self) -> bool:
        """Send a batch of waiting messages; False if the broker did not take all of them."""
        batch = deque(islice(self.waiting, _BATCH))
        size = len(batch)
        # Before they are sent, so that a quick worker's state is not overwritten. `first` keeps the
        # state of a task that has been cancelled by now.
        await self._states.save([message for message in batch if not message.durable], first=True)
        await self._use_broker(partial(self._send, batch))
        for _ in range(size - len(batch)):
            self.waiting.popleft()
        return not batch

    async def _use_broker(self, step: Callable[[Producer], int | None]) -> int | None:
        """Call `step` in the thread, with a producer; return None if it failed."""
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._in_thread, step)
        except Exception as error:  # noqa: BLE001 - transports raise errors of many kinds
            if self.available:
                logger.error("the broker cannot be reached: %s", describe_error(error))
            self.available = False
            return None

    def _in_thread(self, step: Callable[[Producer], int | None]) -> int | None:
        try:
            return step(self._producer())
        except Exception:
            self._disconnect()
            raise

    def _producer(self) -> Producer:
        """Return a producer on the connection, which is kept as long as the broker answers."""
        # Not Celery's pool: after a failure it may wait forever for a connection that it has lost.
        if self._connection is None:
            # Workers wait for messages without a timeout; this connection waits for answers only.
            options = {"read_timeout": 2 * self._celery.conf.broker_connection_timeout}
            self._connection = self._celery.connection_for_write(transport_options=options)
            self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=1)
            self._kept_producer = self._celery.amqp.Producer(self._connection, auto_declare=False)
        return self._kept_producer

    def _send(self, messages: deque[Message], producer: Producer) -> None:
        """Send messages, and remove each that the broker has taken."""
        while messages and not self._ended:
            publish(self._celery, messages[0], producer)
            messages.popleft()

    def _count_announced(self, producer: Producer) -> int:
        """Ask the broker for the length of the queue; a mere connection would prove nothing."""
        name = announcements_in(self._celery.conf.task_default_queue)
        queue: Any = self._celery.amqp.queues[name]  # the stubs are wrong about the answer
        # Declared each time: the broker may have lost it, and on Redis an empty queue is missing.
        return int(queue.queue_declare(channel=producer.channel).message_count)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()
