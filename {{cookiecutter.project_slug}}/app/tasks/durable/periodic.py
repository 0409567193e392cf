"""Periodic tasks in the table: the next tick of each is a row there, due when it comes."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from time import monotonic
from typing import Any

from ..loop import Loop
from ..options import NO_OPTIONS
from ..schedule import WRONG_CLOCK
from ..settings import TaskSettings
from ..task import Task
from .outbox import add_ticks
from .row import new_row
from .store import TaskStore
from .table import TICK

_AFTER_TICKS = "ticl"
"""Behind them in whatever order a database has its texts; no other task has an id like these."""
_ID = re.compile(rf"{TICK}([0-9]+)-[0-9a-f]+")
"""What `_row` makes; somebody may have written another by hand."""
_ABANDONED = 86400.0
"""Seconds after which a tick is deleted whose task no process has known."""


class DurablePeriodicTasks:
    """Adds ticks to the table, as every process does that knows their tasks.

    The id of a row is made of task and tick, so that each tick is there once. If several come while
    nobody runs them, the first one waits and the others are left out.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task[..., Any]],
        store: TaskStore,
        expect: Callable[[float], None],
        settings: TaskSettings,
    ) -> None:
        self._tasks = tasks
        self._schedules = {name: task.schedule for name, task in tasks.items() if task.schedule}
        self._store = store
        self._expect = expect
        self._aging = settings.aging
        self._next: dict[str, float] = {}
        """The tick of each task that was added last."""
        self._seen = 0.0
        """The time of the last step."""
        self.loop = Loop("adding periodic tasks to the table", self._step, settings.sweep_interval)

    async def _step(self) -> None:
        time = await self._store.time()
        if time < self._seen - WRONG_CLOCK:
            self._next = {}  # as at a start
        self._seen = time
        # A tick that was added is the next one until it comes: a clock set back repeats nothing.
        came = [name for name in self._schedules if time >= self._next.get(name, 0.0)]
        if came or not self._schedules:
            obsolete = self._obsolete(await self._waiting(), time)
            await self._store.delete_waiting(list(obsolete))
        if came:
            await self._add_next(came, time)
        if not self._schedules:
            self.loop.stop()  # what other versions have left is deleted
            return
        seconds = min(self._next.values()) - time
        self._expect(seconds)
        self.loop.wake_at(monotonic() + seconds)

    async def _waiting(self) -> list[tuple[str, float, str]]:
        """Return name, tick and id of the ticks that nobody has begun, the first ones first."""
        found = await self._store.waiting(TICK, _AFTER_TICKS)
        ticks = ((name, _ID.fullmatch(task_id)) for task_id, name in found)
        return sorted((name, float(tick[1]), tick[0]) for name, tick in ticks if tick)

    def _obsolete(self, waiting: Iterable[tuple[str, float, str]], time: float) -> Iterator[str]:
        """Give the ids of ticks that are not to run."""
        first: dict[str, float] = {}
        for name, tick, task_id in waiting:
            schedule = self._schedules.get(name, ())
            if name not in self._tasks:  # another version may know it
                obsolete = tick < time - _ABANDONED
            elif not self._next and tick not in schedule:  # which was changed
                obsolete = True
            else:
                obsolete = first.setdefault(name, tick) < tick <= time
            if obsolete:
                yield task_id

    async def _add_next(self, names: Iterable[str], time: float) -> None:
        following = {name: self._schedules[name].next_after(time) for name in names}
        rows = [self._row(self._tasks[name], tick) for name, tick in following.items()]
        async with self._store.sessions() as session:
            await session.run_sync(add_ticks, rows)
        self._next |= following

    def _row(self, task: Task[..., Any], tick: float) -> dict[str, Any]:
        row = new_row(task, ((), {}), NO_OPTIONS, {}, self._aging)
        position = tick + row.pop("rank")
        del row["delay"], row["has_key"]
        of_task = sha256(task.name.encode()).hexdigest()[:16]
        tick_id = f"{TICK}{tick:010.0f}-{of_task}"
        return {**row, "id": tick_id, "due_at": tick, "position": position}
