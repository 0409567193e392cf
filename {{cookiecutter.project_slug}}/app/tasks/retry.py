"""When a task runs again: after a failure, or because it asks for it."""

import math
import random
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(config=ConfigDict(extra="forbid"), frozen=True, slots=True, kw_only=True)
class Retry:
    """Try a task again after an exception, waiting longer each time.

    The wait before attempt n + 1 is random between 0 and `min(max_delay, delay * 2 ** (n - 1))`
    seconds ("full jitter"), so that tasks which failed together are not retried together.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    A task that timed out counts as having raised TimeoutError. Raises ValueError for numbers that
    make no sense.
    """

    attempts: Annotated[int, Field(ge=1)] = 3
    """Attempts in all, the first included; 1 means no retry."""
    on: tuple[type[BaseException], ...] | type[BaseException] = (Exception,)
    """Exception types that are retried; any other fails the task at once."""
    delay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Upper bound of the first wait, in seconds."""
    max_delay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60.0
    """Upper bound of every wait, in seconds."""

    def wants(self, error: BaseException, attempt: int) -> bool:
        """Return whether the task runs again after `error` in attempt number `attempt`."""
        return attempt < self.attempts and isinstance(error, self.on)

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after attempt number `attempt` (1 for the first)."""
        # Beyond 2 ** 64 the bound is max_delay for any delay a person would write.
        bound = min(self.max_delay, self.delay * 2.0 ** min(attempt - 1, 64))
        return random.uniform(0, bound)  # noqa: S311 - jitter is not a secret


class Snooze(Exception):  # noqa: N818 - no error: it asks for another run
    """Raise it in a task to run the task again in `seconds`; no attempt is counted.

    Useful when a service answers 429 with Retry-After, for example. A task that would run again
    more than `LIMIT` seconds after its submission fails instead.
    """

    LIMIT = 30 * 86400.0
    """Seconds."""

    def __init__(self, seconds: float) -> None:
        if not 0 <= seconds < math.inf:
            msg = f"Snooze takes a finite number of seconds, 0 or more, not {seconds}"
            raise ValueError(msg)
        super().__init__(f"run again in {seconds:g} s")
        self.seconds = float(seconds)
