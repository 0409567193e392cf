"""The worker's side: runs Celery's messages on an event loop that lives as long as the process."""

import asyncio
import gc
import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from typing import Any

from anyio.from_thread import start_blocking_portal
from celery import Celery, signals
from celery import Task as CeleryTask
from celery.exceptions import Ignore, Reject
from celery.worker import consumer

from ..redaction import describe_error, redact
from ..task import Task
from .execution import TaskFailed
from .limits import PAUSE
from .message import AS_DATA, Message
from .publisher import SHOWN, publish
from .runner import CeleryRunner

logger = logging.getLogger(__name__)

_GRACE = 5.0
"""Seconds beyond the drain timeout that Celery waits at most until everything is closed."""
_STOP_CHILD = getattr(signal, "SIGUSR2", signal.SIGTERM)  # Windows has no SIGUSR2, and no fork


class Consumer(consumer.Consumer):
    """Receives messages, and reconnects also after errors that end Celery's own consumer.

    Such errors come from a message that is not even JSON, and from some ways to lose a broker.
    """

    connection_errors: tuple[type[BaseException], ...]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A worker need not know of the others. Gossip fills the log with a traceback when the
        # broker is lost, and mingle takes a second at the start.
        super().__init__(*args, without_gossip=True, without_mingle=True, **kwargs)
        self.connection_errors += (ValueError, LookupError, TypeError, AttributeError)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close the lost connection as far as possible."""
        try:
            super().on_connection_error_after_connected(exc)
        except self.connection_errors as error:
            # Celery lets kombu close the connection twice. If the first attempt fails, since Redis
            # is away, the second one fails on its half-closed objects (an AttributeError).
            logger.warning("the connection was only closed in part: %s", describe_error(error))

    def on_unknown_task(self, _body: Any, message: Any, exc: Exception) -> None:
        """Drop a message of a task that this code lacks. Celery would also log its arguments."""
        logger.error("task %s (%s) is unknown and is dropped", exc, message.headers.get("id"))
        message.reject_log_error(logger, self.connection_errors)


class Worker:
    """Runs, in one process, the messages that Celery receives.

    `open_runner` opens everything that tasks need. It is entered on an event loop of the process,
    after the fork if there is one. Async tasks run on that loop; meanwhile a slot of Celery's pool
    waits for each, so that Celery's limits, acknowledgments and events are right. `loop_factory`
    makes the loop; asyncio's own by default.
    """

    def __init__(
        self,
        celery: Celery,
        tasks: Iterable[Task[..., Any]],
        open_runner: Callable[[], AbstractAsyncContextManager[CeleryRunner]],
        drain_timeout: float,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        self._celery = celery
        self._open_runner = open_runner
        self._drain_timeout = drain_timeout
        self._loop_factory = loop_factory
        self._opened = ExitStack()
        self._opening = threading.Lock()
        """Held during the start: a stop waits until it is over."""
        self._stopping = False
        self._closing = threading.Thread(target=self._close, name="task-end", daemon=True)
        self._children: Callable[[], Iterable[int]] = tuple

        def receive(request: CeleryTask[Any, Any], *args: Any, **kwargs: Any) -> None:
            self._receive(request, *args, **kwargs)

        celery.conf.worker_consumer = Consumer
        for task in tasks:
            celery.task(name=task.name, bind=True, shared=False, throws=(TaskFailed,))(receive)

    def start(self) -> None:
        """Start the event loop and open the runner; raises what that raises."""
        with self._opening, ExitStack() as opened:
            options = {"loop_factory": self._loop_factory}
            thread = start_blocking_portal(backend_options=options, name="task-loop")
            portal = opened.enter_context(thread)
            # A sync function that outlives its timeout or the drain must not delay the end.
            opened.callback(portal.call, portal.stop, True)
            self._loop = portal.call(asyncio.get_running_loop)
            runner = portal.wrap_async_context_manager(self._open_runner())
            self._runner = opened.enter_context(runner)
            self._opened.push(opened.pop_all())

    def stop(self) -> None:
        """Begin the shutdown: tasks are drained, and the rest is cancelled and sent again."""
        if not self._stopping:  # a second signal may interrupt the start of the thread
            self._stopping = True
            self._closing.start()

    def wait_until_stopped(self, timeout: float | None = None) -> None:
        """Block until everything is closed."""
        self._closing.join(timeout)

    def follow_signals(self) -> None:
        """Start and stop with Celery's worker, whatever its pool."""
        signals.setup_logging.connect(_keep_logging, weak=False)
        signals.worker_init.connect(self._on_worker_init, weak=False)
        signals.worker_process_init.connect(self._on_fork, weak=False)
        signals.worker_process_shutdown.connect(self._on_end, weak=False)
        signals.worker_shutting_down.connect(self._on_shutdown, weak=False)
        signals.worker_shutdown.connect(self._on_end, weak=False)

    def _close(self) -> None:
        with self._opening:
            self._opened.close()

    def _receive(self, request: CeleryTask[Any, Any], *args: Any, **kwargs: Any) -> None:
        """Run one message; it is acknowledged unless this raises Reject."""
        message = _read(request, args, kwargs)
        if request.request.eta is not None:
            # This worker held it until it was due. It is sent again before its run, so that a
            # redelivered message is always one whose run may have killed its worker.
            raise self._replaced_by(message)
        lost = (request.request.delivery_info or {}).get("redelivered")
        if lost and not message.durable:  # the row of a durable task counts its runs
            # Brokers do not count deliveries, so the message counts lost runs.
            raise self._replaced_by(message.again(message.attempts + 1, 0.0))
        if following := self._run(message):
            raise self._replaced_by(following)

    def _run(self, message: Message) -> Message | None:
        """Run a message; return the one to send before it is acknowledged, if any."""
        if not self._runner.accepting:  # another worker runs the task
            return message
        run = self._runner.execute(message)
        try:
            return asyncio.run_coroutine_threadsafe(run, self._loop).result()
        except (TaskFailed, Ignore):
            raise
        except (Exception, CancelledError):  # the task has not failed: it could not be run
            logger.exception("task %s (%s) cannot be run now", message.name, message.id)
        if message.durable:
            raise Ignore("its row will be announced again")
        return message.postponed(PAUSE)

    def _replaced_by(self, message: Message) -> Ignore | Reject:
        """Send a message in place of the received one; return what tells Celery so."""
        try:
            publish(self._celery, message)
        except Exception as error:  # noqa: BLE001 - transports raise errors of many kinds
            logger.warning("task %s (%s) goes back to the queue", message.name, message.id)
            return Reject(describe_error(error), requeue=True)
        return Ignore("sent again")  # Flower would show a success even if the task then failed

    def _on_worker_init(self, sender: Any, **_: Any) -> None:
        if "prefork" in str(sender.pool_cls) or "process" in str(sender.pool_cls):
            # Each child process opens its own runner. They share the memory of this process as long
            # as nothing writes to it, which the garbage collector would do.
            gc.collect()
            gc.freeze()
            self._children = lambda: sender.pool.info["processes"]
            return
        self._start_or_exit()

    def _on_fork(self, **_: Any) -> None:
        signal.signal(_STOP_CHILD, lambda *_: self.stop())
        self._start_or_exit()

    def _start_or_exit(self) -> None:
        try:
            self.start()
        except Exception as error:
            logger.exception("the worker cannot start")
            raise SystemExit(1) from error  # Celery ignores any other exception here

    def _on_shutdown(self, **_: Any) -> None:
        self.stop()
        with suppress(AttributeError):  # after a second signal Celery has no pool any more
            for child in self._children():  # Celery itself tells them only when they are idle
                with suppress(ProcessLookupError):
                    os.kill(child, _STOP_CHILD)

    def _on_end(self, **_: Any) -> None:
        self.stop()
        self.wait_until_stopped(self._drain_timeout + _GRACE)


def _read(request: CeleryTask[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Message:
    """Return the message. One that cannot be read, a dead letter, is logged and rejected."""
    try:
        (payload,) = args
        message = AS_DATA.validate_python(payload)
        texts = message.arguments, message.context
        objects = all(isinstance(json.loads(text), dict) for text in texts)
        if not objects or message.name != request.name or kwargs:
            msg = "it is not a call of this task"
            raise ValueError(msg)
    except (ValueError, RecursionError):
        shown = redact(repr((*args, kwargs)), SHOWN)
        logger.error("a message for %s cannot be read and is dropped: %s", request.name, shown)
        raise Reject("unreadable", requeue=False) from None
    return message


def _keep_logging(**_: Any) -> None:
    """Keep Celery from configuring logging, which the application has done.

    Celery's lines about every task, with its arguments, are left out: the engine logs its own. An
    acknowledgment that the broker does not get takes one line, without a traceback of 200 lines.
    """
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("celery.worker.request").addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True
