"""`GET /metrics`."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest


def make_router(registry: CollectorRegistry) -> APIRouter:
    """Make the route that shows `registry`."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response, summary="Prometheus metrics")
    def metrics() -> Response:
        """Give the metrics as Prometheus text."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router
