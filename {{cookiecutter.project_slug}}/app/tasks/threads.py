"""Own threads for sync tasks, so that they never take the ones that serve requests."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Outcome = tuple[Any, BaseException | None]


def call_in_thread(func: Callable[[], Any]) -> asyncio.Future[Outcome]:
    """Call `func` in a new thread; the future gives (result, exception or None).

    The thread is a daemon: concurrent.futures joins its own when the interpreter exits, so that one
    hanging task would keep the process from ever ending. The caller limits how many there are.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Outcome] = loop.create_future()
    threading.Thread(target=_run, args=(loop, future, func), name="task", daemon=True).start()
    return future


def _run(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Outcome], func: Callable[[], Any]
) -> None:
    result, error = None, None
    try:
        result = func()
    except BaseException as raised:  # noqa: BLE001 - whatever it is, it belongs to the task
        error = raised
    with suppress(RuntimeError):  # the loop was closed while the function ran
        loop.call_soon_threadsafe(_resolve, future, (result, error))
    # The traceback holds this frame, whose function refers to the job, which holds the error.
    del future, func, error


def _resolve(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():  # it is cancelled when the runner stops waiting at shutdown
        future.set_result(outcome)
