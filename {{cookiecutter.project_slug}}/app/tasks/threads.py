"""Threads for sync tasks, separate from those that serve requests."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Call = Callable[[], Any]
Outcome = tuple[Any, BaseException | None]


class TaskThreads:
    """Threads that are started on demand and reused, since a start blocks until the thread runs.

    They are daemons, so that a hanging task does not keep the process from exiting: the
    interpreter would join threads of concurrent.futures. The caller limits how many calls run at
    once.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[asyncio.Future[Outcome], Call] | None] = SimpleQueue()
        self._threads = 0
        self._busy = 0

    def call(self, func: Call) -> asyncio.Future[Outcome]:
        """Call `func` in a thread; the future gives (result, exception or None)."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        if self._busy == self._threads:
            threading.Thread(
                target=self._work, args=(loop,), name=f"task-{self._threads + 1}", daemon=True
            ).start()  # raises if the system has no thread left: count it only afterwards
            self._threads += 1
        self._busy += 1
        self._calls.put((future, func))
        return future

    def close(self) -> None:
        """End every thread after its current call."""
        for _ in range(self._threads):
            self._calls.put(None)
        self._threads = 0

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (call := self._calls.get()) is not None:
            future, func = call
            outcome = _outcome(func)
            try:
                loop.call_soon_threadsafe(self._resolve, future, outcome)
            except RuntimeError:  # the loop was closed while the function ran
                return
            del call, future, func, outcome  # hold nothing while idle

    def _resolve(self, future: asyncio.Future[Outcome], outcome: Outcome) -> None:
        self._busy -= 1
        future.set_result(outcome)


def _outcome(func: Call) -> Outcome:
    try:
        return func(), None
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the task
        # Break a cycle: error, traceback, this frame, its `func`, the job, and its error again.
        del func
        return None, error
