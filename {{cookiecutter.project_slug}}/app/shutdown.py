"""A shutdown that a load balancer can see coming."""

import asyncio
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

logger = structlog.get_logger(__name__)


class Shutdown:
    """Whether the process has been told to stop."""

    def __init__(self) -> None:
        self.announced = False

    @contextmanager
    def announce(self, delay: float) -> Iterator[None]:
        """Put `delay` seconds between SIGTERM and the server's own shutdown.

        The server closes its socket as soon as it gets the signal, so that a probe would never
        read a readiness of 503, only a refused connection, and requests that are still being
        routed here would be lost. A second SIGTERM does not wait.
        """
        if threading.current_thread() is not threading.main_thread() or _is_reloader_child():
            yield
            return
        loop = asyncio.get_running_loop()
        server_handler = signal.getsignal(signal.SIGTERM)

        def stop(signum: int, frame: FrameType | None) -> None:
            if callable(server_handler):
                server_handler(signum, frame)
            else:  # nobody handles it: let the default end the process
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.raise_signal(signal.SIGTERM)

        def handle(signum: int, frame: FrameType | None) -> None:
            if self.announced or delay == 0:
                stop(signum, frame)
            else:
                loop.call_soon_threadsafe(loop.call_later, delay, stop, signum, frame)
                loop.call_soon_threadsafe(logger.info, "shutdown announced")
            self.announced = True

        signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, server_handler)


def _is_reloader_child() -> bool:
    """Say whether this is a process that `fastapi dev` ends at every change of a file."""
    return multiprocessing.parent_process() is not None
