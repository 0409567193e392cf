"""Whether an engine takes work: from its start on, and from its own tasks while it drains."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from .context import runs_inside
from .dispatcher import Dispatcher
from .engine import TaskEngine
from .errors import RunnerClosed


class Lifecycle:
    """Where an engine is between its start and its end."""

    def __init__(self, runner: TaskEngine) -> None:
        self._runner = runner
        self._dispatcher: Dispatcher | None = None
        self._closed: str | None = "has not been started: use `async with runner:`"

    def start(self, make_dispatcher: Callable[[], Dispatcher]) -> Dispatcher:
        """Take work from here on, on this event loop; RunnerClosed the second time."""
        if self._dispatcher is not None:
            msg = "a task runner is started once; make a new one"
            raise RunnerClosed(msg)
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._dispatcher = make_dispatcher()
        self._closed = None
        return self._dispatcher

    def shut_down(self) -> None:
        """Take only what running tasks submit."""
        self._closed = "is shutting down"

    def close(self) -> None:
        """Take nothing more."""
        self._closed = "has been closed"

    @property
    def accepting(self) -> bool:
        """Whether anybody may submit."""
        return self._closed is None

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher of the engine; RunnerClosed before the start."""
        if self._dispatcher is None:
            msg = f"the task runner {self._closed}"
            raise RunnerClosed(msg)
        return self._dispatcher

    def check_open(self) -> None:
        """Raise RunnerClosed if the calling code may not submit."""
        if self._closed is not None and (self._dispatcher is None or not self._is_draining()):
            msg = f"the task runner {self._closed}"
            raise RunnerClosed(msg)

    def on_loop(self, step: Callable[[Any], None], argument: Any) -> None:
        """Call `step` on the event loop, from whichever thread."""
        if threading.get_ident() == self._loop_thread:
            step(argument)
        else:
            self._loop.call_soon_threadsafe(step, argument)

    def _is_draining(self) -> bool:
        still_open = self._closed == "is shutting down" and not self.dispatcher.closed
        return still_open and runs_inside(self._runner)
