"""An observer that remembers every event."""

from app.tasks import TaskInfo, TaskObserver


class Recorder(TaskObserver):
    """Keeps every event, and counts waiting and running tasks as a gauge would."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.infos: list[TaskInfo] = []
        self.waiting = 0
        self.running = 0

    def names(self, hook: str) -> list[str]:
        """Return the names of the tasks for which a hook was called, in order."""
        return [name for event, name in self.events if event == hook]

    @property
    def hooks(self) -> list[str]:
        """Return the hooks that were called, in order."""
        return [event for event, _ in self.events]

    @property
    def errors(self) -> list[BaseException]:
        """Return the exceptions of all tasks that raised one, in the order of submission."""
        return [info.error for info in self.infos if info.error is not None]

    def queued(self, info: TaskInfo) -> None:
        self.infos.append(info)
        self.waiting += 1
        self._note("queued", info)

    def started(self, info: TaskInfo) -> None:
        self.waiting -= 1
        self.running += 1
        self._note("started", info)

    def retried(self, info: TaskInfo) -> None:
        self.waiting += 1
        self.running -= 1
        self._note("retried", info)

    def succeeded(self, info: TaskInfo) -> None:
        self.running -= 1
        self._note("succeeded", info)

    def failed(self, info: TaskInfo) -> None:
        self.running -= 1
        self._note("failed", info)

    def timed_out(self, info: TaskInfo) -> None:
        self.running -= 1
        self._note("timed_out", info)

    def cancelled(self, info: TaskInfo) -> None:
        if info.duration is None:
            self.waiting -= 1
        else:
            self.running -= 1
        self._note("cancelled", info)

    def rejected(self, info: TaskInfo) -> None:
        self._note("rejected", info)

    def _note(self, hook: str, info: TaskInfo) -> None:
        self.events.append((hook, info.name))
