"""`GET /metrics`."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder

_ACCEPT_LENGTH = 1000
"""Characters of `Accept` that are read; Prometheus sends about 300."""


def make_router(registry: CollectorRegistry) -> APIRouter:
    """Make the route that shows `registry`."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response, summary="Prometheus metrics")
    def metrics(request: Request) -> Response:
        """Give the metrics as Prometheus or OpenMetrics text, as `Accept` asks."""
        encode, content_type = _choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    return router


def _choose_encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    try:
        return choose_encoder(accept[:_ACCEPT_LENGTH])
    except (TypeError, ValueError):  # it fails on a version that is no number
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4
