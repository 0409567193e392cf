"""Waiting for conditions that no event announces."""

import threading
from collections.abc import Callable

SECONDS = 60.0
"""How long to wait for anything; a test that passes needs far less."""


def wait_until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Poll the condition until it holds; fail after `seconds`."""
    timer = threading.Event()
    deadline = threading.Timer(seconds, timer.set)
    deadline.start()
    try:
        while not condition():
            # The pause leaves the processor to the work that is waited for.
            assert not timer.wait(0.1), "the condition did not hold in time"
    finally:
        deadline.cancel()
        deadline.join()
