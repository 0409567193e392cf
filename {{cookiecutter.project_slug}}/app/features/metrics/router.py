"""`GET /metrics`."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


def make_router(registry: CollectorRegistry) -> APIRouter:
    """Make the route that shows `registry`."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response, summary="Prometheus metrics")
    def metrics(request: Request) -> Response:
        """Give the metrics as Prometheus or OpenMetrics text, as `Accept` asks."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    return router
