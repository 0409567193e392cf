"""Large headers on which a careless parser is slow, and the time that one request may take."""

from time import process_time

import httpx2

SECONDS = 0.05
"""Processor time of one request; measured with the client: 0.0006 to 0.0034."""
SIZE = 15_000
"""Bytes of a header, just below the limit."""

WORST_HEADERS: list[tuple[str, bytes]] = [
    ("Accept", b'text"' + b'\\"' * (SIZE // 2)),
    ("Accept", b"text/html;q=" * (SIZE // 12)),
    ("Cookie", b"a=b;" * (SIZE // 4)),
    ("Cookie", b'a="b";' * (SIZE // 6)),
    ("Cookie", b";" * SIZE),
    ("Cookie", b'session="' + b"\\0" * 60 + b"a" * (SIZE - 200) + b'"'),
    ("Cookie", b"session=" + b"." * SIZE),
    ("Authorization", b"Bearer " + b" " * SIZE),
    ("X-API-Key", b"k" * SIZE),
    ("Content-Type", b"multipart/form-data;" + b'";' * 110),
    ("Content-Type", b"multipart/form-data;" + b'a="\\"' * 45),
    ("Content-Length", b"9" * SIZE),
    ("X-Request-ID", b"a" * SIZE),
    ("X-Forwarded-For", b"1," * (SIZE // 2)),
    ("Host", b"[" * SIZE),
    ("Origin", b"http://[" * (SIZE // 8)),
    ("Range", b"bytes=" + b"0-0," * (SIZE // 4)),
    ("Range", b"bytes=" + b"0" * SIZE),
    ("If-None-Match", b'"a",' * (SIZE // 4)),
    ("If-Modified-Since", b"Mon, " * (SIZE // 5)),
    ("If-Range", b"(" * SIZE),
    ("traceparent", b"00-" * (SIZE // 3)),
    ("tracestate", b"a=1," * (SIZE // 4)),
    ("baggage", b"a=1," * (SIZE // 4)),
]


async def is_cheap(
    client: httpx2.AsyncClient, method: str, path: str, name: str, value: bytes
) -> bool:
    """Return whether one of three requests is cheap: the others may collect garbage."""
    for _ in range(3):
        start = process_time()
        await client.request(method, path, headers=[(name.encode(), value)])
        if process_time() - start < SECONDS:
            return True
    return False
