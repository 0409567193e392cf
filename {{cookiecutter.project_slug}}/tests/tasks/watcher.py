"""An observer whose events a test can wait for."""

import asyncio

from app.tasks import Progress, TaskInfo, TaskObserver


class Watcher(TaskObserver):
    """Records every event; `until` waits for one."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int]] = []
        """Name of the event, task id and attempt."""
        self.errors: list[BaseException | None] = []
        self.progress: Progress | None = None
        """The progress of the task of the latest event."""
        self._changed = asyncio.Event()

    def ids(self, event: str) -> list[str]:
        """Return the task ids of one kind of event, in order."""
        return [task_id for name, task_id, _ in self.events if name == event]

    def attempts(self, event: str) -> list[int]:
        """Return the attempts of one kind of event, in order."""
        return [attempt for name, _, attempt in self.events if name == event]

    async def until(self, event: str, count: int = 1) -> list[str]:
        """Wait for `count` events of one kind; return the ids of their tasks."""
        async with asyncio.timeout(30):
            while len(self.ids(event)) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.ids(event)

    def queued(self, info: TaskInfo) -> None:
        self._record("queued", info)

    def started(self, info: TaskInfo) -> None:
        self._record("started", info)

    def retried(self, info: TaskInfo) -> None:
        self._record("retried", info)

    def succeeded(self, info: TaskInfo) -> None:
        self._record("succeeded", info)

    def failed(self, info: TaskInfo) -> None:
        self._record("failed", info)

    def timed_out(self, info: TaskInfo) -> None:
        self._record("timed_out", info)

    def cancelled(self, info: TaskInfo) -> None:
        self._record("cancelled", info)

    def rejected(self, info: TaskInfo) -> None:
        self._record("rejected", info)

    def _record(self, event: str, info: TaskInfo) -> None:
        self.events.append((event, info.id, info.attempt))
        self.errors.append(info.error)
        self.progress = info.progress
        self._changed.set()
