"""A shutdown that a load balancer can see coming."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
        routed here would be lost. A second SIGTERM does not wait, and neither does Ctrl-C.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = signal.getsignal(signal.SIGTERM)

        def stop() -> None:
            signal.signal(signal.SIGTERM, before)
            signal.raise_signal(signal.SIGTERM)

        def handle(*_: object) -> None:
            is_second, self.announced = self.announced, True
            if is_second or delay == 0:
                stop()
                return
            loop.call_soon_threadsafe(loop.call_later, delay, stop)
            loop.call_soon_threadsafe(logger.info, "shutdown announced")

        signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
