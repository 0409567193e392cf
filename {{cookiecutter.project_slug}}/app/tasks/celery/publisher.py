"""Publishes messages beside the requests, so that no broker can hold up one."""

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
        args=[AS_DATA.dump_python(message, exclude_defaults=True)],
        task_id=message.id,
        countdown=min(delay, longest_countdown(celery)) if delay > 0 else None,
        priority=broker_priority(celery, message.priority),
        queue=announcements_in(queue) if message.durable else queue,
        argsrepr=redact(message.arguments, _SHOWN),
        retry=False,
        add_to_parent=False,
        producer=producer,
    )


class Publisher:
    """Sends messages in the order in which they came, and knows whether the broker is there.

    What was accepted is kept until the broker has it; `available` says beforehand whether to
    accept. The broker is talked to in a thread, so that it holds up nobody.
    """

    def __init__(self, celery: Celery, states: TaskStates) -> None:
        self._celery = celery
        self._states = states
        self._connection: Connection | None = None
        self._thread = ThreadPoolExecutor(1, "task-publisher")
        self.waiting: deque[Message] = deque()
        """What the broker does not have yet."""
        self._loop = Loop("publishing tasks", self._step, _PROBE_INTERVAL)
        self.available = True
        """Whether the broker took all that was sent, and answered, the last time."""
        self.idle = asyncio.Event()
        """Set while the broker has everything, and at the end."""
        self.idle.set()
        self._ended = False
        """Whether nothing more is sent: a process does not end before its threads."""

    async def start(self) -> None:
        """Seek the broker once, and go on with it beside the tasks."""
        await self.announced()
        self._publishing = asyncio.create_task(self._loop.run())

    def put(self, message: Message) -> None:
        """Send a message as soon as possible; call it on the event loop."""
        self.idle.clear()
        self.waiting.append(message)
        if self.available:
            self._loop.wake()

    async def announce(self, messages: Sequence[Message]) -> None:
        """Send messages at once; those that the broker does not take wait with the others."""
        left = deque(messages)
        await self._use_broker(partial(self._send, left))
        for message in left:
            self.put(message)

    async def announced(self) -> int | None:
        """Return how many announcements the broker has; None if nobody can say."""
        return await self._use_broker(self._count_announced)

    def find(self, task_id: str) -> TaskRecord | None:
        """Return the state of a task that the broker may not have got yet."""
        return next((one for one in self.waiting if one.id == task_id), None)

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 - of a shutdown
        """Send what waits, for up to `timeout` seconds; what could not be sent is logged."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.idle.wait()
        self._loop.stop()
        await asyncio.wait((self._publishing,), timeout=2.0)
        self._ended = True
        self._thread.submit(self._disconnect)
        self._thread.shutdown(wait=False)
        self.idle.set()
        if lost := [message for message in self.waiting if not message.durable]:  # rows stay
            names = ", ".join(f"{message.name} ({message.id})" for message in lost)
            logger.error("%d tasks never reached the broker: %s", len(lost), names)

    async def _step(self) -> None:
        """Send some of what waits, or see whether the broker is there."""
        if not (self.available and self.waiting) and await self.announced() is None:
            return
        # One that is full answers questions, but takes nothing.
        if self.waiting and not await self._send_waiting():
            return
        if not self.available:
            logger.info("the broker is there")
        self.available = True
        if self.waiting:
            self._loop.wake()
        else:
            self.idle.set()

    async def _send_waiting(self) -> bool:
        """Send some of what waits; False if the broker did not take all of it."""
        batch = deque(islice(self.waiting, _BATCH))
        size = len(batch)
        # Before they are sent: a worker may be quick, and its word is the later one. So is that of
        # who has cancelled a task by now.
        await self._states.save([one for one in batch if not one.durable], first=True)
        await self._use_broker(partial(self._send, batch))
        for _ in range(size - len(batch)):
            self.waiting.popleft()
        return not batch

    async def _use_broker(self, step: Callable[[Producer], int | None]) -> int | None:
        """Do something with the broker, in the thread; None if that failed."""
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
        # Not Celery's pool: after a failure it may wait for ever for a connection that it lost.
        if self._connection is None:
            # A worker may wait for ever for a message; this one is always owed an answer.
            options = {"read_timeout": 2 * self._celery.conf.broker_connection_timeout}
            self._connection = self._celery.connection_for_write(transport_options=options)
            self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=1)
            self._kept = self._celery.amqp.Producer(self._connection, auto_declare=False)
        return self._kept

    def _send(self, messages: deque[Message], producer: Producer) -> None:
        """Send messages, and keep those that the broker did not take."""
        while messages and not self._ended:
            publish(self._celery, messages[0], producer)
            messages.popleft()

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
        return int(answer.message_count)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()
