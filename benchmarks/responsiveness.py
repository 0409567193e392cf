"""How background tasks slow down the requests beside them: ours and Starlette's."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field

from load import Load, http_request, put_load
from server import Server, service_environment
from table import Table, main, median, median_ratio, progress

ROUNDS = 5
BLOCKING_TASKS = 40
APPLICATION = "endpoints:app"
ENGINES = {"ours": "app.tasks", "starlette": "Starlette"}


@dataclass
class Figures:
    """The figures of one endpoint under load, round by round."""

    rate: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    """In ms."""
    refused: list[float] = field(default_factory=list)
    """Percent of the answers that were 503."""
    cpu: list[float] = field(default_factory=list)
    """Processor time for a request and its task, in µs."""

    def add(self, load: Load) -> None:
        """Add the figures of a round."""
        self.rate.append(load.rate)
        self.p99.append(load.p99 * 1000)
        self.refused.append(100 * load.statuses[503] / load.statuses.total())


def measure(quick: bool) -> Table:
    """Measure blocking tasks, short tasks and overload."""
    table = Table(
        "Requests beside background tasks",
        "The same service and the same load, with tasks added by `tasks: Tasks` or by Starlette's "
        "`BackgroundTasks`, in turn. A sync endpoint beside "
        f"{BLOCKING_TASKS} tasks that block a thread for a second each; an async endpoint that "
        "adds a task of 50 ms, in production, where a task that succeeds is not logged, "
        "with room for all of them and with the default limits, beyond which it answers 503; and "
        "tasks of 5 s for as long as the overload lasts.",
    )
    _measure_blocking(table)
    room = {"TASKS_MAX_CONCURRENCY": "1000", "TASKS_QUEUE_SIZE": "10000"}
    _measure_short(table, "room for all", room, quick=quick)
    _measure_short(table, "default limits", {}, quick=quick)
    for engine in ENGINES:
        _measure_overload(table, engine, 5 if quick else 60)
    return table


def _measure_blocking(table: Table) -> None:
    for engine, name in ENGINES.items():
        idle, beside = Figures(), Figures()
        for number in range(ROUNDS):
            with _server(engine) as server:
                _put(server, "sync", connections=4, seconds=0.5)  # this starts its threads
                idle.add(_put(server, "sync", connections=4, seconds=1))
                _put(server, "blocking", connections=BLOCKING_TASKS, count=BLOCKING_TASKS)
                beside.add(_put(server, "sync", connections=4, seconds=1))
                server.kill()
            progress(f"blocking, {name} {number + 1}: p99 {beside.p99[-1]:.1f} ms")
        label = f"sync endpoint beside {BLOCKING_TASKS} blocking tasks"
        table.note(f"{label}, {name}: p99 idle", median(idle.p99), "ms")
        table.note(f"{label}, {name}: p99", median(beside.p99), "ms")
        ratio = median_ratio(beside.p99, idle.p99)
        if engine == "ours":
            table.at_most(f"{label}, {name}: p99 : idle", ratio, 3, "")
        else:
            table.note(f"{label}, {name}: p99 : idle", ratio, "")


def _measure_short(table: Table, limits: str, settings: dict[str, str], *, quick: bool) -> None:
    with ExitStack() as stack:
        engines = {name: Figures() for name in ("none", *ENGINES)}
        servers = {
            name: stack.enter_context(_server(name, "production", **settings)) for name in engines
        }
        for server in servers.values():
            _put(server, "short", seconds=0.5)
        for number in range(ROUNDS):
            for name, figures in engines.items():
                server = servers[name]
                before = server.cpu_seconds
                load = _put(server, "short", seconds=1 if quick else 3)
                _put(server, "idle", connections=1, count=1)  # its tasks must not slow the next
                figures.add(load)
                figures.cpu.append((server.cpu_seconds - before) / len(load.latencies) * 1e6)
            progress(f"50 ms task, {limits}: round {number + 1}")
    alone, ours, starlette = engines.values()
    label = f"50 ms task, {limits}"
    table.note(f"{label}: no task", median(alone.rate), "requests/s")
    table.note(f"{label}: no task, p99", median(alone.p99), "ms")
    table.note(f"{label}: app.tasks", median(ours.rate), "requests/s")
    table.note(f"{label}: app.tasks, answered 503", median(ours.refused), "%")
    table.at_least(
        f"{label}: requests/s, app.tasks : no task", median_ratio(ours.rate, alone.rate), 0.8, ""
    )
    table.note(f"{label}: processor time, no task", median(alone.cpu), "µs a request")
    table.note(f"{label}: processor time, app.tasks", median(ours.cpu), "µs a request")
    table.note(f"{label}: processor time, Starlette", median(starlette.cpu), "µs a request")
    table.at_most(f"{label}: p99, app.tasks : no task", median_ratio(ours.p99, alone.p99), 1.3, "")
    table.note(
        f"{label}: requests/s, Starlette : no task", median_ratio(starlette.rate, alone.rate), ""
    )
    table.note(f"{label}: p99, Starlette : no task", median_ratio(starlette.p99, alone.p99), "")


def _measure_overload(table: Table, engine: str, seconds: int) -> None:
    name = ENGINES[engine]
    with _server(engine) as server:
        _put(server, "long", seconds=2)
        before = server.memory
        load = _put(server, "long", seconds=seconds)
        growth = server.memory - before
        server.kill()
    progress(f"overload, {name}: {growth:.1f} MB")
    label = f"overload for {seconds} s, {name}"
    table.note(f"{label}: answered 503", 100 * load.statuses[503] / load.statuses.total(), "%")
    table.note(f"{label}: p99", load.p99 * 1000, "ms")
    if engine == "ours":
        table.at_most(f"{label}: memory growth after 2 s", growth, 10, "MB")
    else:
        table.note(f"{label}: memory growth after 2 s", growth, "MB")


def _server(engine: str, mode: str = "development", **settings: str) -> Server:
    return Server(APPLICATION, service_environment(mode, ENGINE=engine, **settings))


def _put(
    server: Server,
    path: str,
    *,
    connections: int = 16,
    count: float = float("inf"),
    seconds: float = float("inf"),
) -> Load:
    request = http_request(f"/benchmark/{path}")
    return asyncio.run(
        put_load(server.port, request, connections=connections, count=count, seconds=seconds)
    )


if __name__ == "__main__":
    main(measure)
