"""Progress that a task reports is visible at once in its own process."""

import asyncio
import json
import math
from dataclasses import asdict
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import pytest

from app.tasks import Progress, RunnerClosed, TaskRunner, report_progress
from tests.tasks.gate import Gate


@pytest.mark.parametrize("in_thread", [False, True])
async def test_progress_is_visible_while_the_task_runs(
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
    info = engine._get_dispatcher().jobs.get(task_id)
    assert info is not None
    assert info.progress == Progress(3, 10, "x" * 200)
    gate.open()


@pytest.mark.parametrize("number", [math.nan, math.inf, pytest.param(10**400, id="huge"), "half"])
async def test_a_total_that_is_no_finite_number_is_refused(engine: TaskRunner, number: Any) -> None:
    """It is not valid JSON and would make the renewal of all leases of the process fail."""
    errors: list[Exception] = []

    async def work() -> None:
        try:
            report_progress(1, number)
        except (OverflowError, ValueError) as error:
            errors.append(error)

    engine.submit(work)
    await engine.join(5)
    assert errors


async def test_any_number_type_and_note_become_valid_json(engine: TaskRunner, gate: Gate) -> None:
    async def work() -> None:
        report_progress(Decimal("0.5"), Fraction(3, 2), "\ud800\0")  # type: ignore[arg-type]
        await gate.hold()

    task_id = engine.submit(work)
    await gate.holds(1)
    info = engine._get_dispatcher().jobs.get(task_id)
    assert info is not None
    assert info.progress is not None
    assert json.dumps(asdict(info.progress)) == '{"done": 0.5, "total": 1.5, "note": "??"}'
    gate.open()


def test_reporting_progress_outside_a_task_is_refused() -> None:
    with pytest.raises(RunnerClosed, match="does not run in a task"):
        report_progress(1)
