"""Metrics of HTTP requests, labelled by route template so that their number is bounded."""

from collections.abc import Callable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram

from app.middleware import Answered

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def http_metrics(registry: CollectorRegistry) -> Callable[[Answered], None]:
    """Return what counts and times a request that has been answered."""
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
