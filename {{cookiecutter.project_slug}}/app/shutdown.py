"""A shutdown that a load balancer can see coming."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

logger = structlog.get_logger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
        server_handlers = {signum: signal.getsignal(signum) for signum in _SIGNALS}
        delays = {signal.SIGTERM: delay, signal.SIGINT: 0.0}

        def stop(signum: int, frame: FrameType | None) -> None:
            handler = server_handlers[signal.Signals(signum)]
            if callable(handler):
                handler(signum, frame)
            else:  # nobody handles it: let the default end the process
                signal.signal(signum, signal.SIG_DFL)
                signal.raise_signal(signum)

        def handle(signum: int, frame: FrameType | None) -> None:
            wait = 0.0 if self.announced else delays[signal.Signals(signum)]
            self.announced = True
            if wait == 0:
                stop(signum, frame)
            else:
                loop.call_soon_threadsafe(loop.call_later, wait, stop, signum, frame)
                loop.call_soon_threadsafe(logger.info, "shutdown announced")

        for signum in _SIGNALS:
            signal.signal(signum, handle)
        try:
            yield
        finally:
            for signum, handler in server_handlers.items():
                signal.signal(signum, handler)
