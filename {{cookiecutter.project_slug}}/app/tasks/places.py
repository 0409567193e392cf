"""Places in the queue: taken from any thread, and never more than there are."""

import threading


class Places:
    """A bounded counter. Waiting is not offered: a request has to know at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, *, besides: int = 0) -> bool:
        """Take a place; return False if none is left, `besides` of them being needed elsewhere."""
        self._lock.acquire()  # `with` takes twice as long, and there is one for every task
        try:
            if self._taken + besides >= self.limit:
                return False
            self._taken += 1
            return True
        finally:
            self._lock.release()

    def take_back(self) -> None:
        """Take a place even if none is left: a task that was accepted once is not refused later."""
        with self._lock:
            self._taken += 1

    def give_back(self) -> None:
        """Free a place."""
        self._lock.acquire()
        self._taken -= 1
        self._lock.release()

    @property
    def taken(self) -> int:
        """Places taken by waiting tasks and by requests that have not ended."""
        return self._taken
