"""An observer that can be waited for."""

import asyncio

from app.tasks import Progress, TaskInfo, TaskObserver


class Watcher(TaskObserver):
    """Remembers every event, and wakes those who wait for one."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int]] = []
        """Hook, task id and attempt."""
        self.errors: list[BaseException | None] = []
        self.progress: Progress | None = None
        """What the task of the latest event has reported."""
        self._changed = asyncio.Event()

    def of(self, hook: str) -> list[str]:
        """Return the ids of the tasks of one event, in order."""
        return [task_id for name, task_id, _ in self.events if name == hook]

    def attempts(self, hook: str) -> list[int]:
        """Return the numbers of the runs of one event, in order."""
        return [attempt for name, _, attempt in self.events if name == hook]

    async def until(self, hook: str, count: int = 1) -> list[str]:
        """Wait until there were so many of one event."""
        async with asyncio.timeout(30):
            while len(self.of(hook)) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.of(hook)

    def queued(self, info: TaskInfo) -> None:
        self._note("queued", info)

    def started(self, info: TaskInfo) -> None:
        self._note("started", info)

    def retried(self, info: TaskInfo) -> None:
        self._note("retried", info)

    def succeeded(self, info: TaskInfo) -> None:
        self._note("succeeded", info)

    def failed(self, info: TaskInfo) -> None:
        self._note("failed", info)

    def timed_out(self, info: TaskInfo) -> None:
        self._note("timed_out", info)

    def cancelled(self, info: TaskInfo) -> None:
        self._note("cancelled", info)

    def rejected(self, info: TaskInfo) -> None:
        self._note("rejected", info)

    def _note(self, hook: str, info: TaskInfo) -> None:
        self.events.append((hook, info.id, info.attempt))
        self.errors.append(info.error)
        self.progress = info.progress
        self._changed.set()
