"""Metrics for Prometheus: HTTP requests and background tasks, at `/metrics` or on a port."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache

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
)

from app.feature import Feature
from app.middleware import Answered
from app.settings import Settings, read

from .server import MetricsSettings, serve_metrics
from .tasks import DurableTaskMetrics, TaskMetrics

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def create_feature(_: Settings) -> Feature:
    """Make the feature. Each application has its own registry: two in a process never mix."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    router = APIRouter(tags=["metrics"])
    durable = DurableTaskMetrics(registry)
    settings = read(MetricsSettings)

    @router.get("/metrics", response_class=Response, summary="Prometheus metrics")
    def metrics() -> Response:
        """Give the metrics as Prometheus text."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with serve_metrics(settings, registry):
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
    """Return what counts and times a request that has been answered.

    Its label is the template of its route, so that the number of series is bounded.
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
    # Cached, since to find a series by its labels takes longer than to count.
    requests_of, duration_of = cache(requests.labels), cache(duration.labels)

    def observe(answered: Answered) -> None:
        method = answered.method if answered.method in _METHODS else "OTHER"
        route = answered.route or "unmatched"
        requests_of(method, route, answered.status).inc()
        duration_of(method, route).observe(answered.seconds)

    return observe
