"""Periodic tasks in the table: the next tick of each is a row, due at the time of the tick."""

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
"""A text that every database sorts after all ids of ticks, with no other ids in between."""
_ID = re.compile(rf"{TICK}([0-9]+)-[0-9a-f]+")
"""The ids that `_row` makes; a row that was written by hand may have another one."""
_ABANDONED = 86400.0
"""Seconds after which an overdue tick is deleted if this process does not know its task."""


class DurablePeriodicTasks:
    """Adds ticks to the table, as does every process that knows the periodic tasks.

    The id of a row is made of task and tick, so that each tick is added once. Of several ticks that
    pass before one of them runs, the first stays and the others are deleted.
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
        """The last tick that was added, by name of its task."""
        self._last_time = 0.0
        """The time of the last step, by the clock of the table."""
        self.loop = Loop("adding periodic tasks to the table", self._step, settings.sweep_interval)

    async def _step(self) -> None:
        time = await self._store.time()
        if time < self._last_time - WRONG_CLOCK:
            self._next = {}  # as at the start
        self._last_time = time
        # An added tick stays the next one until its time, so a clock that is set back repeats none.
        due = [name for name in self._schedules if time >= self._next.get(name, 0.0)]
        if due or not self._schedules:
            obsolete = self._obsolete(await self._waiting(), time)
            await self._store.delete_waiting(list(obsolete))
        if due:
            await self._add_next(due, time)
        if not self._schedules:
            self.loop.stop()  # obsolete ticks of other versions have been deleted
            return
        seconds = min(self._next.values()) - time
        self._expect(seconds)
        self.loop.wake_at(monotonic() + seconds)

    async def _waiting(self) -> list[tuple[str, float, str]]:
        """Return name, time and id of the ticks that have not started, in this order."""
        rows = await self._store.waiting(TICK, _AFTER_TICKS)
        ids = ((name, _ID.fullmatch(task_id)) for task_id, name in rows)
        return sorted((name, float(match[1]), match[0]) for name, match in ids if match)

    def _obsolete(self, waiting: Iterable[tuple[str, float, str]], time: float) -> Iterator[str]:
        """Yield the ids of ticks that must not run."""
        first: dict[str, float] = {}
        for name, tick, task_id in waiting:
            schedule = self._schedules.get(name, ())
            if name not in self._tasks:  # another version may know it
                obsolete = tick < time - _ABANDONED
            elif not self._next and tick not in schedule:  # the schedule was changed
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
        name_hash = sha256(task.name.encode()).hexdigest()[:16]
        tick_id = f"{TICK}{tick:010.0f}-{name_hash}"
        return {**row, "id": tick_id, "due_at": tick, "position": position}
