"""The backlog: about how many durable tasks are due and free, and when the next one is."""

from collections.abc import Collection
from time import monotonic

from ..loop import Loop
from ..settings import TaskSettings
from ..task_types import TaskTypes
from .store import TaskStore


class Backlog:
    """Asks the table now and then, and adds what this process has submitted since.

    It counts the tasks of all `names`, and wakes `loop` when the next one of `claimed` is due.
    """

    def __init__(
        self,
        store: TaskStore,
        types: TaskTypes,
        names: Collection[str],
        claimed: Collection[str],
        settings: TaskSettings,
        loop: Loop,
    ) -> None:
        self._store = store
        self._types = types
        self._names = names
        self._claimed = claimed
        self._most = settings.queue_size
        self._recount = max(settings.queue_size // 4, 1)
        """After how many that were added it counts again: others may have taken some."""
        self._ask_at = 0.0
        self._added = 0
        self.loop = loop
        self.size = 0
        """Up to the size of the queue."""

    def expect(self, delay: float) -> None:
        """Note that this process knows of one more task, which is due in `delay` seconds."""
        if delay > 0:
            self._ask_at = min(self._ask_at, monotonic() + delay)
            self.loop.wake_at(self._ask_at)
            return
        self.size += 1
        self._added += 1
        if self._added % self._recount == 0:
            self._ask_at = 0.0

    async def ask(self) -> None:
        """Ask the table, if it is time to; the loop goes on when it is time again."""
        if monotonic() >= self._ask_at:
            await self._ask()
        self.loop.wake_at(self._ask_at)

    async def _ask(self) -> None:
        self._ask_at, added = monotonic() + self.loop.pause, self._added
        names, claimed = self._types.startable(self._names), self._types.startable(self._claimed)
        counted, seconds = await self._store.backlog(names, claimed, self._most)
        self._ask_at = min(self._ask_at, monotonic() + seconds)
        # What was added meanwhile may have been counted, or not: then the old size decides.
        self.size = min(max(self.size, counted), counted + self._added - added)
