"""Waiting for what has no event."""

import threading
from collections.abc import Callable

SECONDS = 60.0
"""How long to wait for anything; a test that passes needs far less."""


def wait_until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Ask again and again, until the time is over: what is asked has no event to wait for."""
    timer = threading.Event()
    deadline = threading.Timer(seconds, timer.set)
    deadline.start()
    try:
        while not condition():
            # Not at once: who asks takes the processor from those who are to answer.
            assert not timer.wait(0.1), "it has not come true in time"
    finally:
        deadline.cancel()
        deadline.join()
