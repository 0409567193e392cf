"""Real processes on one database."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from tasks.python_path import PYTHONPATH

from .world import World

ROWS, PROCESSES, SUBMITTED = 200, 2, 50
WORKER = """
import asyncio, os, sys
from app.tasks import task
from tests.tasks.watcher import Watcher
from tasks.durable.world import World, leave_effect

class Printer(Watcher):
    def succeeded(self, info):
        super().succeeded(info)
        print("ran", flush=True)

@task(name="shared", durable=True)
async def shared(n: int):
    await leave_effect(n)

async def main():
    world = World(os.environ["DATABASE_URL"])
    async with world.process(shared, watcher=Printer(), lease=20, max_concurrency=4) as process:
        for n in map(int, sys.argv[1:]):
            await process.submit(shared, n)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


class Counter:
    """Counts the lines in which the processes report a run."""

    def __init__(self, goal: int) -> None:
        self.by_process: list[int] = []
        self.reached = asyncio.Event()
        self._goal = goal

    async def read(self, worker: Process) -> None:
        number = len(self.by_process)
        self.by_process.append(0)
        assert worker.stdout is not None
        async for line in worker.stdout:
            assert line == b"ran\n"
            self.by_process[number] += 1
            if sum(self.by_process) == self._goal:
                self.reached.set()


async def start(folder: Path, url: str, numbers: range) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "worker.py", *map(str, numbers),
        cwd=folder, stdin=PIPE, stdout=PIPE,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, "DATABASE_URL": url},
    )  # fmt: skip


async def test_two_processes_run_every_task_once(world: World, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    world.fill("shared", ROWS)
    total = ROWS + PROCESSES * SUBMITTED
    counter = Counter(total)
    workers = [
        await start(tmp_path, world.url, range(first, first + SUBMITTED))
        for first in range(ROWS, total, SUBMITTED)
    ]
    try:
        readers = [asyncio.create_task(counter.read(worker)) for worker in workers]
        async with asyncio.timeout(60):
            await counter.reached.wait()
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.close()
            codes = [await worker.wait() for worker in workers]
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
        await asyncio.gather(*readers)
    assert codes == [0] * PROCESSES
    assert sorted(world.effects) == list(range(total))
    assert all(counter.by_process)
    assert set(world.states) == {"succeeded"}
    assert set(world.run("SELECT attempts FROM background_tasks")) == {1}
