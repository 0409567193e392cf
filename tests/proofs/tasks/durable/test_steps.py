"""Steps: each takes effect once, wherever its process is killed."""

import asyncio
import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import task_session
from app.tasks import (
    ArgumentError,
    Retry,
    TaskRunner,
    TaskSettings,
    TaskState,
    current_runner,
    current_task,
    step,
    task,
)
from tasks.python_path import PYTHONPATH
from tests.tasks.gate import Gate

from .world import LONG, World, leave_effect

NUMBER = UUID(int=7)
calls: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    calls.clear()


async def write(n: int) -> UUID:
    calls.append(f"write {n}")
    await leave_effect(n)
    return NUMBER


@task(durable=True)
async def follow_up(n: int) -> None:
    await leave_effect(n)


async def test_a_retry_skips_the_steps_that_were_completed(world: World) -> None:
    results: list[Any] = []

    @task(durable=True, retry=Retry(attempts=3, delay=0))
    async def order() -> None:
        results.append(await step("one", write, 1))
        info = current_task()
        assert info is not None
        if info.attempt == 1:
            raise ConnectionError
        results.append(await step("two", partial(write, n=2)))

    async with world.process(order) as process:
        await process.submit(order)
        await process.watcher.until("succeeded")
    assert calls == ["write 1", "write 2"]
    assert world.effects == [1, 2]
    assert results == [NUMBER] * 3  # the annotation turns the stored text into a UUID again


async def test_a_failed_step_leaves_nothing_behind(world: World) -> None:
    @task(durable=True)
    async def child() -> None: ...

    async def fail(n: int) -> None:
        async with task_session():
            await leave_effect(n)
            current_runner().submit(child)
        if len(calls) == 0:
            calls.append("failed")
            raise ConnectionError

    @task(durable=True, retry=Retry(attempts=2, delay=0))
    async def order() -> None:
        await step("one", fail, 1)

    async with world.process(order, child) as process:
        await process.submit(order)
        await process.watcher.until("succeeded", 2)
    assert world.effects == [1]
    assert len(world.states) == 2


@pytest.mark.parametrize("quicker", [0, 1])
async def test_a_step_of_two_concurrent_runs_takes_effect_once(world: World, quicker: int) -> None:
    """The lease of the first run has ended, as if its process had been blocked."""
    gates, end = [Gate(), Gate()], Gate()
    runs: list[int] = []
    results: list[int] = []

    async def work() -> int:
        run = len(runs)
        runs.append(run)
        await gates[run].hold()
        await leave_effect(run)
        return run

    @task(durable=True)
    async def order() -> None:
        results.append(await step("one", work))
        await end.hold()

    async with world.process(order, lease=60) as one:
        task_id = await one.submit(order)
        await gates[0].holds(1)
        await world.set(task_id, lease_until=0.0)
        async with world.process(order, lease=60) as two:
            await gates[1].holds(1)
            gates[quicker].open()
            await end.holds(1)
            gates[1 - quicker].open()
            await end.holds(2)
            end.open()
            for process in (one, two):
                await process.watcher.until("succeeded")
    assert world.effects == [quicker]
    assert results == [quicker] * 2


async def test_the_slower_of_two_runs_does_not_fail_the_task(world: World) -> None:
    """Not even if its steps run in a TaskGroup, which raises an ExceptionGroup."""
    gates, end = [Gate(), Gate()], Gate()
    runs: list[int] = []

    async def work() -> None:
        runs.append(len(runs))
        await gates[runs[-1]].hold()

    @task(durable=True)
    async def order() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step("one", work))
        await end.hold()

    async with world.process(order, lease=LONG) as one:
        task_id = await one.submit(order)
        await gates[0].holds(1)
        await world.set(task_id, lease_until=0.0)
        async with world.process(order, lease=LONG) as two:
            await gates[1].holds(1)
            gates[1].open()
            await end.holds(1)
            gates[0].open()
            await end.holds(2)
            end.open()
            await two.watcher.until("succeeded")
    assert world.states == ["succeeded"]


@pytest.mark.parametrize("reads", [False, True])
async def test_a_step_that_waits_holds_no_lock(world: World, gate: Gate, *, reads: bool) -> None:
    async def charge() -> None:
        if reads:
            async with task_session(read_only=True) as session:
                await session.execute(text("SELECT n FROM effects"))
        await gate.hold()

    @task(durable=True)
    async def order() -> None:
        await step("charge", charge)

    async with world.process(order) as process:
        await process.submit(order)
        await gate.holds(1)
        async with asyncio.timeout(2):
            await leave_effect(1)
        gate.open()
        await process.watcher.until("succeeded")


async def test_all_sessions_of_a_step_are_one_that_ends_with_it(world: World) -> None:
    sessions: list[AsyncSession] = []

    async def use() -> None:
        for _ in range(2):
            async with task_session() as session:
                sessions.append(session)

    @task(durable=True)
    async def order() -> None:
        await step("one", use)
        await step("two", use)
        await use()

    async with world.process(order) as process:
        await process.submit(order)
        await process.watcher.until("succeeded")
    assert len({id(session) for session in sessions}) == 4
    assert sessions[0] is sessions[1]


async def test_a_key_used_again_runs_its_steps_again(world: World) -> None:
    @task(durable=True)
    async def order(n: int) -> None:
        await step("one", write, n)

    async with world.process(order) as process:
        for n in (1, 2):
            task_id = await process.submit(order, n, key="same")
            await process.watcher.until("succeeded", n)
        assert world.effects == [1, 2]
        await process.store.prune(-60)
        assert await process.store.get(task_id) is None
    assert world.run("SELECT count(*) FROM background_task_steps") == [0]


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        ("twice", "number the steps"),
        ("twice at once", "number the steps"),
        ("result", "must survive JSON"),
        ("no number", "must survive JSON"),
        ("in a step", "inside another step"),
        ("name", "more than 200 characters"),
    ],
)
async def test_misuse_of_a_step_is_an_error(world: World, problem: str, error: str) -> None:
    async def give() -> object:
        return object() if problem == "result" else None

    async def compute() -> float:
        return math.nan

    async def nest() -> None:
        await step("inner", give)

    @task(durable=True)
    async def order() -> None:
        func = {"no number": compute, "in a step": nest}.get(problem, give)
        name = "é" * 201 if problem == "name" else "one"
        if problem == "twice at once":
            await asyncio.gather(step(name, func), step(name, func))
        else:
            await step(name, func)
            await step(name, func)

    async with world.process(order) as process:
        await process.submit(order)
        await process.watcher.until("failed")
        raised = process.watcher.errors[-1]
        assert error in str(raised)
    assert isinstance(raised, ArgumentError if "JSON" in error else RuntimeError)


async def test_a_step_of_a_deleted_row_has_no_effect(world: World, gate: Gate) -> None:
    async def work() -> None:
        await gate.hold()
        await leave_effect(1)

    @task(durable=True)
    async def order() -> None:
        await step("one", work)

    async with world.process(order, lease=60) as one, world.process(lease=60) as other:
        task_id = await one.submit(order)
        await gate.holds(1)
        await other.runner.cancel_anywhere(task_id)
        await other.store.prune(-60)
        gate.open()
        await one.watcher.until("retried")
        await one.assert_everything_is_released()
    assert world.effects == []


async def test_a_step_outside_a_durable_task_is_refused() -> None:
    with pytest.raises(RuntimeError, match="only a running durable task"):
        await step("one", write, 1)


async def test_a_step_result_passes_through_json_without_a_database() -> None:
    async def give() -> Any:
        return (7,)

    results: list[object] = []

    @task(durable=True)
    async def order() -> None:
        results.append(await step("one", give))

    async with TaskRunner(TaskSettings(), in_memory=True) as runner:
        runner.submit(order)
        await runner.join(5)
    assert results == [[7]]


async def test_a_step_result_has_the_annotated_type_even_of_a_partial_task() -> None:
    results: list[object] = []

    @task
    async def number(text: str) -> UUID:
        return UUID(text)

    @task(durable=True)
    async def order() -> None:
        results.append(await step("one", partial(number, str(UUID(int=7)))))

    async with TaskRunner(TaskSettings(), in_memory=True) as runner:
        runner.submit(order)
        await runner.join(5)
    assert results == [UUID(int=7)]


DYING = """
import asyncio, os, signal, sys
from app.db import task_session
from app.tasks import step, task
from tasks.durable.world import World, leave_effect

DIE_AT = int(sys.argv[1])

def die_at(number):
    if number == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)

async def write(n):
    die_at(3 * n)
    async with task_session():
        await leave_effect(n)
        die_at(3 * n + 1)
    return n

@task(name="order", durable=True)
async def order():
    for n in range(3):
        assert await step(f"step {n}", write, n) == n
        die_at(3 * n + 2)

async def main():
    world = World(os.environ["DATABASE_URL"])
    async with world.process(order, lease=0.5) as process:
        if sys.argv[2] == "submit":
            await process.submit(order)
        await process.watcher.until("succeeded")

asyncio.run(main())
"""


BEFORE_A_COMMIT, BETWEEN_TWO_STEPS = 4, 5
BRIEFLY = (BEFORE_A_COMMIT, BETWEEN_TWO_STEPS)
POINTS = [
    pytest.param(point, marks=() if point in BRIEFLY else pytest.mark.exhaustive)
    for point in range(9)
]


@pytest.mark.parametrize("point", POINTS)
async def test_kills_at_any_point_repeat_no_step(world: World, tmp_path: Path, point: int) -> None:
    (tmp_path / "dying.py").write_text(DYING, encoding="utf-8")
    codes = []
    for arguments in ((str(point), "submit"), ("-1", "go on")):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "dying.py", *arguments, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": PYTHONPATH, "DATABASE_URL": world.url},
        )  # fmt: skip
        async with asyncio.timeout(60):
            codes.append(await process.wait())
    assert codes == [-9, 0]
    assert world.effects == [0, 1, 2]
    assert world.states == [TaskState.SUCCEEDED]
