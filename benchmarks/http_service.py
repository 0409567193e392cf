"""The service beside a bare FastAPI application: requests, processor time, start, memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from load import http_request, put_load
from server import BARE, HEALTH, SERVICE, Server, service_environment
from table import Table, main, median, median_ratio, progress

ROUNDS = 7
QUICK_ROUNDS = 5


@dataclass
class Figures:
    """The figures of one application, round by round."""

    rate: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Processor time for a request, in µs."""
    p99: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def measure(quick: bool) -> Table:
    """Measure both modes."""
    table = Table(
        "The service beside a bare FastAPI application",
        f"`GET {HEALTH}` over 16 keep-alive connections, one uvicorn worker each, with an access "
        "log; both run at once and are called in turn. Ratios are taken pair by pair.",
    )
    for mode in ("development", "production"):
        _measure_mode(table, mode, quick=quick)
    return table


def _measure_mode(table: Table, mode: str, *, quick: bool) -> None:
    bare, service = Figures(), Figures()
    servers = {BARE: bare, SERVICE: service}
    for _ in range(1 + (QUICK_ROUNDS if quick else ROUNDS)):
        for application, figures in servers.items():
            with Server(application, service_environment(mode)) as server:
                figures.start.append(server.start_seconds)
    del bare.start[0], service.start[0]  # the first start compiled the modules
    with (
        Server(BARE) as bare_server,
        Server(SERVICE, service_environment(mode)) as service_server,
    ):
        for _ in range(QUICK_ROUNDS if quick else ROUNDS):
            _ask(bare_server, bare, 1500 if quick else 5000)
            _ask(service_server, service, 1500 if quick else 5000)
            bare.memory.append(bare_server.memory)
            service.memory.append(service_server.memory)
            progress(f"{mode}: {bare.rate[-1]:.0f}/s and {service.rate[-1]:.0f}/s")
    table.note(f"{mode}: bare application", median(bare.rate), "requests/s")
    table.note(f"{mode}: service", median(service.rate), "requests/s")
    table.at_least(
        f"{mode}: requests/s, service : bare", median_ratio(service.rate, bare.rate), 0.8, ""
    )
    table.note(f"{mode}: processor time, bare", median(bare.cpu), "µs a request")
    table.note(f"{mode}: processor time, service", median(service.cpu), "µs a request")
    table.note(
        f"{mode}: requests per processor second, service : bare",
        median_ratio(bare.cpu, service.cpu),
        "",
    )
    table.note(f"{mode}: p99, bare", median(bare.p99), "ms")
    table.note(f"{mode}: p99, service", median(service.p99), "ms")
    difference = median(service.start) - median(bare.start)
    table.at_most(f"{mode}: start, service - bare", difference, 0.4, "s")
    difference = median(service.memory) - median(bare.memory)
    table.at_most(f"{mode}: memory after the load, service - bare", difference, 32, "MB")


def _ask(server: Server, figures: Figures, count: int) -> None:
    before = server.cpu_seconds
    load = asyncio.run(put_load(server.port, http_request(HEALTH), count=count))
    figures.cpu.append((server.cpu_seconds - before) / count * 1e6)
    figures.rate.append(load.rate)
    figures.p99.append(load.p99 * 1000)


if __name__ == "__main__":
    main(measure)
