"""Whatever happens in whatever order, no task is lost or runs twice, and every limit holds."""

import math
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from app.tasks import Snooze

from .model import TASKS, FaultError, World

_NUMBERS = st.integers(0, 1000)
_DELAYS = (0.0, 0.0, 0.0, 0.3, 2.0)
_TIMEOUTS = (math.inf, 60.0, 1.5)
_STEPS = (0.05, 0.5, 1.0, 4.0)
_NAMES = sorted(TASKS)
_KEYS = (None, None, "a", "b")
_LIMITS = (None, 1, 3)
_ERRORS = (FaultError(), SystemExit(), Snooze(0), Snooze(0.3))


class TaskMachine(RuleBasedStateMachine):
    """Drives a `World` by rules; hypothesis searches for an order that breaks it."""

    world: World

    @initialize(
        slots=st.integers(1, 4),
        threads=st.integers(1, 2),
        capacity=st.integers(1, 12),
        aging=st.sampled_from([0.0, 1.0, math.inf]),
    )
    def start(self, slots: int, threads: int, capacity: int, aging: float) -> None:
        self.world = World(slots, threads, capacity, aging)

    @rule(
        name=st.sampled_from(_NAMES),
        priority=st.sampled_from([0, 5, 9]),
        delay=st.sampled_from(_DELAYS),
        timeout=st.sampled_from(_TIMEOUTS),
        attempts=st.integers(1, 2),
        key=st.sampled_from(_KEYS),
        times=st.integers(1, 3),
    )
    def submit(self, *, times: int, **call: Any) -> None:
        for _ in range(times):
            self.world.submit(**call)

    @rule(number=_NUMBERS)
    def succeed(self, number: int) -> None:
        self.world.finish(number, None)

    @rule(number=_NUMBERS, error=st.sampled_from(_ERRORS))
    def fail(self, number: int, error: BaseException) -> None:
        self.world.finish(number, error)

    @rule(name=st.sampled_from(_NAMES))
    def pause_or_resume(self, name: str) -> None:
        self.world.pause(name)

    @rule(
        name=st.sampled_from(_NAMES), limit=st.sampled_from(_LIMITS), rate=st.sampled_from(_LIMITS)
    )
    def limit(self, name: str, limit: int | None, rate: int | None) -> None:
        self.world.limit(name, limit, rate)

    @rule(number=_NUMBERS)
    def cancel(self, number: int) -> None:
        self.world.cancel(number)

    @rule(seconds=st.sampled_from(_STEPS))
    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)

    @invariant()
    def the_runner_agrees_with_its_model(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.shut_down()


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_the_runner_matches_its_model_in_any_order_of_events() -> None:
    run_state_machine_as_test(
        TaskMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("seed", range(6))
def test_no_task_waits_in_vain_in_a_long_run_under_load(seed: int) -> None:
    """Lost wake-ups would pile up in one runner that stays busy for 600 actions."""
    choose = random.Random(seed)  # noqa: S311 - not a secret
    world = World(choose.randint(2, 6), choose.randint(1, 3), 30, choose.choice([0, 1, math.inf]))
    for _ in range(600):
        action = choose.random()
        number = choose.randrange(1_000_000)
        if action < 0.45:
            world.submit(
                choose.choice(_NAMES),
                choose.choice([0, 5, 9]),
                choose.choice(_DELAYS),
                choose.choice(_TIMEOUTS),
                choose.choice([1, 2]),
                choose.choice(_KEYS),
            )
        elif action < 0.75:
            world.finish(number, choose.choice([None, None, FaultError(), Snooze(0.3)]))
        elif action < 0.82:
            world.cancel(number)
        elif action < 0.84:
            world.pause(choose.choice(_NAMES))
        elif action < 0.86:
            world.limit(choose.choice(_NAMES), choose.choice(_LIMITS), choose.choice(_LIMITS))
        else:
            world.advance(choose.choice(_STEPS))
        world.check()
    assert sum(map(len, world.model.starts.values())) > 100
    world.shut_down()
