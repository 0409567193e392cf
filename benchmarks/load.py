"""A load client: a few keep-alive connections, each with one request in flight."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections import Counter
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CONNECTIONS = 16
API_KEY = "key-of-the-benchmark"
EXPECTED = frozenset({200, 202, 503})


class Load:
    """Limits requests to `count` or to `seconds`, and records how they were answered."""

    def __init__(self, request: bytes, *, count: float, seconds: float) -> None:
        """Measure from now on."""
        self.request = request
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self._left = count
        self._began = time.perf_counter()
        self._end = self._began + seconds
        self.took = 0.0

    def another(self) -> bool:
        """Return whether to send one more request."""
        self._left -= 1
        return self._left >= 0 and time.perf_counter() < self._end

    def answered(self, status: int, latency: float) -> None:
        """Record a response. Raises RuntimeError for a status that is not expected."""
        if status not in EXPECTED:
            raise RuntimeError(f"the server under load answered {status}")
        self.statuses[status] += 1
        self.latencies.append(latency)
        self.took = time.perf_counter() - self._began

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.took

    @property
    def p99(self) -> float:
        """The latency that one request in a hundred exceeds, in seconds."""
        return statistics.quantiles(self.latencies, n=100)[98]


class _Connection(asyncio.Protocol):
    """A protocol, because asyncio's streams would use more time than the server under test."""

    def __init__(self, load: Load, done: asyncio.Future[None]) -> None:
        self._load = load
        self._done = done
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head)
        if length is not None and len(body) < int(length[1]):
            return
        try:
            self._load.answered(int(head[9:12]), time.perf_counter() - self._sent)
        except RuntimeError as error:
            self._done.set_exception(error)
            self._transport.close()
            return
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the server hung up"))

    def _next(self) -> None:
        if not self._load.another():
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._answer = b""
        self._sent = time.perf_counter()
        self._transport.write(self._load.request)


def http_request(path: str, method: str = "GET") -> bytes:
    """Return a request as bytes."""
    length = "" if method == "GET" else "Content-Length: 0\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {API_KEY}\r\n"
    return f"{head}{length}\r\n".encode()


async def put_load(
    port: int,
    request: bytes,
    *,
    connections: int = CONNECTIONS,
    count: float = float("inf"),
    seconds: float = float("inf"),
) -> Load:
    """Send a request repeatedly; return when all are answered."""
    loop = asyncio.get_running_loop()
    load = Load(request, count=count, seconds=seconds)
    ends = [loop.create_future() for _ in range(connections)]
    for end in ends:
        await loop.create_connection(
            lambda end=end: _Connection(load, end),  # type: ignore[misc]  # its default
            "127.0.0.1",
            port,
        )
    await asyncio.gather(*ends)
    return load
