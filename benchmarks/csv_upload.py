"""A large CSV file is uploaded and becomes a report: memory, and health checks meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

from load import http_request, put_load
from server import HEALTH, MB, Server, service_environment
from table import Table, main, median, progress

FILE_MB = 100
QUICK_FILE_MB = 20
ROUNDS = 5
QUICK_ROUNDS = 1
BOUNDARY = "benchmark"
REPORT_SECONDS = 300.0


class Watch:
    """Reads the memory of a server and calls its health check until it is stopped."""

    def __init__(self, server: Server) -> None:
        """Begin to watch."""
        self._server = server
        self._over = threading.Event()
        self.before = server.memory
        self.peak = self.before
        self.latencies: list[float] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait for the last answer."""
        self._over.set()
        self._thread.join()

    @property
    def p99(self) -> float:
        """In ms."""
        return sorted(self.latencies)[int(len(self.latencies) * 0.99)] * 1000

    def _run(self) -> None:
        while not self._over.wait(0.005):
            load = asyncio.run(
                put_load(self._server.port, http_request(HEALTH), connections=1, count=10)
            )
            self.latencies += load.latencies
            self.peak = max(self.peak, self._server.memory)


def measure(quick: bool) -> Table:
    """Upload the file to a new service in each round."""
    size = QUICK_FILE_MB if quick else FILE_MB
    growth, upload, report, p99 = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.csv"
        _write_csv(path, size * MB)
        for number in range(QUICK_ROUNDS if quick else ROUNDS):
            with Server("app.main:app", service_environment(API_KEYS="")) as server:
                asyncio.run(put_load(server.port, http_request(HEALTH), count=500))
                watch = Watch(server)
                try:
                    began = time.perf_counter()
                    location = _upload(server.port, path)
                    upload.append(time.perf_counter() - began)
                    _await_report(server.port, location)
                    report.append(time.perf_counter() - began)
                finally:
                    watch.stop()
            growth.append(watch.peak - watch.before)
            p99.append(watch.p99)
            progress(f"round {number + 1}: {growth[-1]:.0f} MB, p99 {p99[-1]:.1f} ms")
    table = Table(
        "A large CSV file",
        f"A file of {size} MB is uploaded to a service that has just started, until its report is "
        f"done; `GET {HEALTH}` is called all the time. Memory is the server's resident set.",
    )
    table.note("upload answered with 202", median(upload), "s")
    table.note("report done", median(report), "s")
    table.at_most("memory growth, highest", median(growth), 150, "MB")
    table.at_most(f"`{HEALTH}` p99", median(p99), 50, "ms")
    return table


def _write_csv(path: Path, size: int) -> None:
    rng = random.Random(0)  # noqa: S311 - the same file every time
    rows = [
        f"{number},{rng.random():.6f},{rng.choice(('north', 'south', 'east', 'west'))},"
        f"2026-{rng.randint(1, 12):02}-{rng.randint(1, 28):02},{rng.randint(0, 10**9)}\n"
        for number in range(100_000)
    ]
    block = "".join(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("id,share,region,day,amount\n")
        while file.tell() < size:
            file.write(block)


def _body(path: Path) -> tuple[int, Iterator[bytes]]:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="email"\r\n\r\na@example.com\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="large.csv"\r\n'
        "Content-Type: text/csv\r\n\r\n"
    ).encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()

    def parts() -> Iterator[bytes]:
        yield head
        with path.open("rb") as file:
            while chunk := file.read(MB):
                yield chunk
        yield tail

    return len(head) + path.stat().st_size + len(tail), parts()


def _upload(port: int, path: Path) -> str:
    length, parts = _body(path)
    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(length),
    }
    connection = HTTPConnection("127.0.0.1", port, timeout=REPORT_SECONDS)
    connection.request("POST", "/reports", body=parts, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if answer.status != HTTPStatus.ACCEPTED:
        msg = f"the upload was answered with {answer.status}: {text}"
        raise RuntimeError(msg)
    return str(answer.headers["Location"])


def _await_report(port: int, location: str) -> None:
    deadline = time.monotonic() + REPORT_SECONDS
    while time.monotonic() < deadline:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", location)
        report = json.load(connection.getresponse())
        connection.close()
        if report["status"] == "done":
            return
        if report["status"] == "failed":
            raise RuntimeError(report["error"])
        time.sleep(0.2)
    msg = f"no report after {REPORT_SECONDS:.0f} s"
    raise TimeoutError(msg)


if __name__ == "__main__":
    main(measure)
