"""Headers that take long to parse badly, as large as a head may be, and what they may cost."""

from time import process_time

import httpx2

SECONDS = 0.05
"""Processor time of one request; measured, the client included: 0.0006 to 0.0034."""
ALMOST = 15_000
"""Bytes of a header that are let in."""

WORST_HEADERS: list[tuple[str, bytes]] = [
    ("Accept", b'text"' + b'\\"' * (ALMOST // 2)),
    ("Accept", b"text/html;q=" * (ALMOST // 12)),
    ("Cookie", b"a=b;" * (ALMOST // 4)),
    ("Cookie", b'a="b";' * (ALMOST // 6)),
    ("Cookie", b";" * ALMOST),
    ("Cookie", b'session="' + b"\\0" * 60 + b"a" * (ALMOST - 200) + b'"'),
    ("Cookie", b"session=" + b"." * ALMOST),
    ("Authorization", b"Bearer " + b" " * ALMOST),
    ("X-API-Key", b"k" * ALMOST),
    ("Content-Type", b"multipart/form-data;" + b'";' * 110),
    ("Content-Type", b"multipart/form-data;" + b'a="\\"' * 45),
    ("Content-Length", b"9" * ALMOST),
    ("X-Request-ID", b"a" * ALMOST),
    ("X-Forwarded-For", b"1," * (ALMOST // 2)),
    ("Host", b"[" * ALMOST),
    ("Origin", b"http://[" * (ALMOST // 8)),
    ("Range", b"bytes=" + b"0-0," * (ALMOST // 4)),
    ("Range", b"bytes=" + b"0" * ALMOST),
    ("If-None-Match", b'"a",' * (ALMOST // 4)),
    ("If-Modified-Since", b"Mon, " * (ALMOST // 5)),
    ("If-Range", b"(" * ALMOST),
    ("traceparent", b"00-" * (ALMOST // 3)),
    ("tracestate", b"a=1," * (ALMOST // 4)),
    ("baggage", b"a=1," * (ALMOST // 4)),
]


async def is_cheap(
    client: httpx2.AsyncClient, method: str, path: str, name: str, value: bytes
) -> bool:
    """Say whether a request takes little time: one of three, as others may collect garbage."""
    for _ in range(3):
        start = process_time()
        await client.request(method, path, headers=[(name.encode(), value)])
        if process_time() - start < SECONDS:
            return True
    return False
