"""Own threads for sync tasks, so that they never take the ones that serve requests."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from queue import SimpleQueue
from typing import Any

Outcome = tuple[Any, BaseException | None]
_Call = tuple[asyncio.Future[Outcome], Context, Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class TaskThreads:
    """Threads that are started when needed and kept.

    They are daemons: concurrent.futures joins its threads when the interpreter exits, so that
    one hanging task would keep the process from ever ending. The caller limits how many calls
    run at once.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads = 0
        self._busy = 0

    def call(
        self,
        context: Context,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> asyncio.Future[Outcome]:
        """Run `func` in a thread and `context`; the future gives (result, exception or None)."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        if self._busy == self._threads:
            threading.Thread(
                target=self._work, args=(loop,), name=f"task-{self._threads + 1}", daemon=True
            ).start()  # raises when the system has no thread left: count it only then
            self._threads += 1
        self._busy += 1
        self._calls.put((future, context, func, args, kwargs))
        return future

    def close(self) -> None:
        """Let every thread end after the call it is in."""
        for _ in range(self._threads):
            self._calls.put(None)
        self._threads = 0

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (call := self._calls.get()) is not None:
            future, context, func, args, kwargs = call
            outcome = _outcome(context, func, args, kwargs)
            try:
                loop.call_soon_threadsafe(self._resolve, future, outcome)
            except RuntimeError:  # the loop was closed while the function ran
                return
            del call, future, context, func, args, kwargs, outcome  # hold nothing while idle

    def _resolve(self, future: asyncio.Future[Outcome], outcome: Outcome) -> None:
        self._busy -= 1
        if not future.done():  # it is cancelled when the runner stops waiting at shutdown
            future.set_result(outcome)


def _outcome(
    context: Context, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Outcome:
    try:
        return context.run(func, *args, **kwargs), None
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the task
        # The traceback holds this frame, whose context refers to the job, which holds the error.
        del context, func, args, kwargs
        return None, error
