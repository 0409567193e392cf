"""A port for the metrics of each process.

Behind a port that several processes share, every scrape would meet another of them; and a worker
listens to no requests, so that it has no other way to show its metrics.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EADDRINUSE
from threading import Thread
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from .settings import MetricsSettings

logger = structlog.get_logger(__name__)

PORTS = 64
"""How many to try: there is one for each process of the service on a machine."""


@contextmanager
def serve_metrics(settings: MetricsSettings, registry: CollectorRegistry) -> Iterator[None]:
    """Serve `registry` while the block lasts, if a port was asked for.

    Raises OSError when no port is free.
    """
    first = settings.port
    if first is None:
        yield
        return
    server, thread = _listen(settings.host, range(first, first + PORTS), registry)
    logger.info("metrics are served", host=settings.host, port=server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listen(host: str, ports: range, registry: CollectorRegistry) -> tuple[WSGIServer, Thread]:
    for port in ports:
        try:
            return start_http_server(port, host, registry)
        except OSError as error:
            if error.errno != EADDRINUSE:
                raise
    msg = f"METRICS_PORT: no port from {ports.start} to {ports.stop - 1} is free"
    raise OSError(EADDRINUSE, msg)
