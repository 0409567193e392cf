"""Options for one call, over those of the task's decorator."""

from dataclasses import dataclass

from .priority import check_priority
from .retry import Retry
from .task import check_timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one call asks for; None leaves it to the task, then to the settings."""

    priority: int | None = None
    timeout: float | None = None
    """Seconds for one run; `math.inf` for no limit."""
    delay: float = 0.0
    """Seconds before the task may start."""
    retry: Retry | None = None
    """`Retry(attempts=1)` turns the task's own retries off."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value no task can have."""
        if self.priority is not None:
            check_priority(self.priority)
        if self.timeout is not None:
            check_timeout(self.timeout)
        if not 0 <= self.delay < float("inf"):
            msg = f"delay must be a finite number of seconds, 0 or more, not {self.delay}"
            raise ValueError(msg)


NO_OPTIONS = Options()
