"""A port for the metrics of each process.

Behind a port that several processes share, each scrape would meet a different one; and a worker
listens to no requests, so that it has no other way to show its metrics.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EADDRINUSE
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.settings import EnvSettings, server_processes

logger = structlog.get_logger(__name__)

PORTS = 64
"""How many to try: there is one for each process of the service on a machine."""


class MetricsSettings(EnvSettings):
    """Where metrics are served besides `/metrics`: METRICS_* environment variables."""

    model_config = SettingsConfigDict(env_prefix="METRICS_")

    port: int | None = Field(default=None, ge=1, le=65535)
    """First port to try; each process of the service takes the first free one from here on."""
    host: str = "127.0.0.1"
    """Address to listen on; there is no API key on this port."""


@contextmanager
def serve_metrics(settings: MetricsSettings, registry: CollectorRegistry) -> Iterator[None]:
    """Serve `registry` while the block lasts, if a port was asked for.

    Raises OSError when no port is free.
    """
    if settings.port is None:
        if server_processes() > 1:
            logger.warning("each scrape of /metrics meets another process: set METRICS_PORT")
        yield
        return
    server = _listen(settings.host, settings.port, registry)
    logger.info("metrics are served", host=settings.host, port=server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _listen(host: str, first: int, registry: CollectorRegistry) -> WSGIServer:
    for port in range(first, first + PORTS):
        try:
            return start_http_server(port, host, registry)[0]
        except OSError as error:
            if error.errno != EADDRINUSE:
                raise
    msg = f"METRICS_PORT: no port from {first} to {first + PORTS - 1} is free"
    raise OSError(EADDRINUSE, msg)
