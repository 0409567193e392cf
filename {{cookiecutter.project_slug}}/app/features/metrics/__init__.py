"""Metrics for Prometheus: HTTP requests and background tasks, at `/metrics` or on a port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Response
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from app.feature import Feature
from app.settings import Settings, read

from .durable import DurableTaskMetrics
from .http_metrics import http_metrics
from .server import MetricsSettings, serve_metrics
from .tasks import TaskMetrics


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
        request_observers=[http_metrics(registry)],
        lifespan=lifespan,
    )
