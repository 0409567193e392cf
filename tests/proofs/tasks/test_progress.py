"""Progress: what a task says of itself, seen at once in its process."""

import asyncio
from functools import partial

import pytest

from app.tasks import Progress, RunnerClosed, TaskRunner, report_progress
from tests.tasks.gate import Gate


@pytest.mark.parametrize("in_thread", [False, True])
async def test_it_is_seen_while_the_task_runs(
    engine: TaskRunner, gate: Gate, in_thread: bool
) -> None:
    report = partial(report_progress, 3, 10, note="x" * 300)

    async def work() -> None:
        if in_thread:
            await asyncio.to_thread(report)
        else:
            report()
        await gate.hold()

    task_id = engine.submit(work)
    await gate.holds(1)
    info = engine.find(task_id)
    assert info is not None
    assert info.progress == Progress(3, 10, "x" * 200)
    gate.open()


def test_outside_a_task() -> None:
    with pytest.raises(RunnerClosed, match="does not run in a task"):
        report_progress(1)
