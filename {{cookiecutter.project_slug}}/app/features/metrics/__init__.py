"""Prometheus metrics of HTTP requests and background tasks, at `/metrics` and on a separate port.

Each process can have a port of its own for metrics. If several processes share the service's port,
each scrape of `/metrics` reaches a different one; and a worker has no route for its metrics.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from errno import EADDRINUSE
from functools import cache
from wsgiref.simple_server import WSGIServer

import structlog
from fastapi import APIRouter, FastAPI, Response
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    start_http_server,
)
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.feature import Feature
from app.middleware import Answered
from app.settings import EnvSettings, Settings, read, server_processes

from .tasks import DurableTaskMetrics, TaskMetrics

logger = structlog.get_logger(__name__)

PORTS = 64
"""How many ports to try: each process of the service on a machine needs one."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class MetricsSettings(EnvSettings):
    """Where metrics are served besides `/metrics`: METRICS_* environment variables."""

    model_config = SettingsConfigDict(env_prefix="METRICS_")

    port: int | None = Field(default=None, ge=1, le=65535)
    """First port to try; each process of the service takes the first free one from here on."""
    host: str = "127.0.0.1"
    """Address to listen on; the port needs no API key."""


def create_feature(_: Settings) -> Feature:
    """Make the feature, with its own registry: two applications in a process share no metrics."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    router = APIRouter(tags=["metrics"])
    durable = DurableTaskMetrics(registry)
    settings = read(MetricsSettings)

    @router.get("/metrics", response_class=Response, summary="Prometheus metrics")
    def metrics() -> Response:
        """Return the metrics in the text format of Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with _serve_on_port(settings, registry):
            async with durable.read_regularly(app.state.runner.store):
                yield

    return Feature(
        name="metrics",
        router=router,
        polled=["/metrics"],
        observers=[TaskMetrics(registry)],
        request_observers=[_http_metrics(registry)],
        lifespan=lifespan,
    )


def _http_metrics(registry: CollectorRegistry) -> Callable[[Answered], None]:
    """Return an observer that counts and times requests.

    They are labeled by the path of the route, such as "/orders/{id}", which bounds the number of
    series.
    """
    requests = Counter(
        "http_requests_total",
        "Requests answered.",
        ["method", "route", "status"],
        registry=registry,
    )
    duration = Histogram(
        "http_request_duration_seconds",
        "Time from the head of a request to the last byte of its answer.",
        ["method", "route"],
        registry=registry,
    )
    # Cached, because finding a series by its labels takes longer than counting.
    requests_of, duration_of = cache(requests.labels), cache(duration.labels)

    def observe(answered: Answered) -> None:
        method = answered.method if answered.method in _METHODS else "OTHER"
        route = answered.route or "unmatched"
        requests_of(method, route, answered.status).inc()
        duration_of(method, route).observe(answered.seconds)

    return observe


@contextmanager
def _serve_on_port(settings: MetricsSettings, registry: CollectorRegistry) -> Iterator[None]:
    """Serve `registry` on its own port during the block, if METRICS_PORT is set.

    Raises OSError when no port is free.
    """
    if settings.port is None:
        if server_processes() > 1:
            logger.warning("each scrape of /metrics reaches a different process: set METRICS_PORT")
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
