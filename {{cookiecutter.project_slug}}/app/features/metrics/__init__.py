"""Metrics for Prometheus: HTTP requests and background tasks, at `/metrics` or on a port."""

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from app.feature import Feature
from app.settings import Settings, read

from .http import http_metrics
from .router import make_router
from .server import metrics_server
from .settings import MetricsSettings
from .tasks import TaskMetrics


def create_feature(_: Settings) -> Feature:
    """Make the feature. Each application has its own registry: two in a process never mix."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return Feature(
        name="metrics",
        router=make_router(registry),
        middleware=[http_metrics(registry)],
        observers=[TaskMetrics(registry)],
        lifespan=metrics_server(read(MetricsSettings), registry),
    )
