"""Metrics of HTTP requests, labelled by route template so that their number is bounded."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram

from app.middleware import Answered

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpMetrics:
    """Counts and times every HTTP request."""

    def __init__(self, registry: CollectorRegistry) -> None:
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
        self._requests = cache(requests.labels)
        self._duration = cache(duration.labels)

    def observe(self, answered: Answered) -> None:
        """Count an answer."""
        method = answered.method if answered.method in _METHODS else "OTHER"
        route = answered.route or "unmatched"
        self._requests(method, route, answered.status).inc()
        self._duration(method, route).observe(answered.seconds)
