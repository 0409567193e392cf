"""Metrics for Prometheus: HTTP requests and background tasks, at `/metrics` or on a port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from app.feature import Feature
from app.settings import Settings, read

from .durable import DurableTaskMetrics
from .http_metrics import HttpMetrics
from .router import make_router
from .server import MetricsSettings, serve_metrics
from .tasks import TaskMetrics


def create_feature(_: Settings) -> Feature:
    """Make the feature. Each application has its own registry: two in a process never mix."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    durable = DurableTaskMetrics(registry)
    settings = read(MetricsSettings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with serve_metrics(settings, registry):
            async with durable.read_regularly(app.state.runner.store):
                yield

    return Feature(
        name="metrics",
        router=make_router(registry),
        polled=["/metrics"],
        observers=[TaskMetrics(registry)],
        request_observers=[HttpMetrics(registry).observe],
        lifespan=lifespan,
    )
