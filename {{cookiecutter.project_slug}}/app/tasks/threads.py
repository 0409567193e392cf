"""Own threads for sync tasks, so that they never take the ones that serve requests."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Call = Callable[[], Any]
Outcome = tuple[Any, BaseException | None]


class TaskThreads:
    """Threads that are started when needed and kept: a start waits until the thread has begun.

    They are daemons: concurrent.futures joins its threads when the interpreter exits, so that
    one hanging task would keep the process from ever ending. The caller limits how many calls
    run at once.
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
            ).start()  # raises when the system has no thread left: count it only then
            self._threads += 1
        self._busy += 1
        self._calls.put((future, func))
        return future

    def close(self) -> None:
        """Let every thread end after the call it is in."""
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
        # The traceback holds this frame, whose function refers to the job, which holds the error.
        del func
        return None, error
