"""Metrics of HTTP requests, labelled by route template so that their number is bounded."""

from functools import cache
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpMetrics:
    """Counts and times every HTTP request."""

    def __init__(self, app: ASGIApp, requests: Counter, duration: Histogram) -> None:
        self._app = app
        # To find a series by its labels takes longer than to count.
        self._requests = cache(requests.labels)
        self._duration = cache(duration.labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what the server answers when nothing else was said
        start = perf_counter()

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            route = getattr(scope.get("route"), "path", "unmatched")
            self._requests(method, route, status).inc()
            self._duration(method, route).observe(perf_counter() - start)


def http_metrics(registry: CollectorRegistry) -> Middleware:
    """Make the middleware with metrics in `registry`."""
    requests = Counter(
        "http_requests_total",
        "Requests answered.",
        ["method", "route", "status"],
        registry=registry,
    )
    duration = Histogram(
        "http_request_duration_seconds",
        "Time from the first byte of a request to the last of its answer.",
        ["method", "route"],
        registry=registry,
    )
    return Middleware(HttpMetrics, requests=requests, duration=duration)
