"""The order of tasks: by priority and aging, then first come first served."""

import math

import pytest

from app.tasks import Priority, TaskRunner, TaskSettings, task

from .virtual_time import ON_VIRTUAL_TIME, advance, settle

pytestmark = ON_VIRTUAL_TIME


class OneSlot:
    """A runner with one slot; each task takes a second, and `served` keeps their order."""

    def __init__(self, aging: float) -> None:
        self.served: list[str] = []
        self.runner = TaskRunner(
            TaskSettings(max_concurrency=1, aging=aging, queue_size=10_000, drain_timeout=1e6)
        )

    async def run(self, label: str) -> None:
        self.served.append(label)
        await advance(1)

    def add(self, label: str, priority: int = Priority.NORMAL, delay: float = 0) -> None:
        self.runner.options(priority=priority, delay=delay).submit(self.run, label)


def test_the_most_urgent_priority_is_the_smallest_number() -> None:
    assert [(p.name, p.value) for p in Priority] == [
        ("URGENT", 0),
        ("HIGH", 3),
        ("NORMAL", 5),
        ("LOW", 7),
        ("IDLE", 9),
    ]


async def test_urgent_tasks_run_first_and_equals_in_submission_order() -> None:
    slot = OneSlot(aging=10)
    async with slot.runner:
        slot.add("blocker")
        for label in ("a", "b"):
            for priority in (9, 5, 6, 0, 3, 5):
                slot.add(f"{label}{priority}", priority)
    assert slot.served == [
        *("blocker", "a0", "b0", "a3", "b3", "a5", "a5", "b5", "b5", "a6", "b6", "a9", "b9")
    ]


async def test_aging_bounds_the_head_start_of_a_priority() -> None:
    slot = OneSlot(aging=10)
    async with slot.runner:
        for number in range(40):
            slot.add(f"blocker{number}", Priority.URGENT)
        slot.add("low", Priority.LOW)  # aging puts it 70 seconds behind URGENT
        slot.add("urgent, 69 s later", Priority.URGENT, delay=69)
        slot.add("urgent, 71 s later", Priority.URGENT, delay=71)
        for number in range(40):
            slot.add(f"high{number}", Priority.HIGH)
        await advance(0)
    served = slot.served
    assert served.index("urgent, 69 s later") < served.index("low")
    assert served.index("low") < served.index("urgent, 71 s later")


async def test_the_lowest_priority_is_not_starved_by_a_flood_of_the_highest() -> None:
    slot = OneSlot(aging=2)
    async with slot.runner:
        slot.add("urgent")
        slot.add("idle", Priority.IDLE)
        while "idle" not in slot.served:
            slot.add("urgent", Priority.URGENT)
            slot.add("urgent", Priority.URGENT)  # twice as many as one slot can run
            await advance(1)
            assert len(slot.served) < 50
        # IDLE is 9 steps of 2 s behind: the urgent tasks of 18 s go first, two for each second.
        assert 36 <= slot.served.index("idle") <= 40


async def test_strict_priority_starves_less_urgent_tasks() -> None:
    slot = OneSlot(aging=math.inf)
    async with slot.runner:
        slot.add("urgent")
        slot.add("idle", Priority.IDLE)
        for _ in range(200):
            slot.add("urgent", Priority.URGENT)
            await advance(1)
        assert "idle" not in slot.served
    assert slot.served[-1] == "idle"


async def test_strict_priority_is_first_come_first_served_among_equals() -> None:
    slot = OneSlot(aging=math.inf)
    async with slot.runner:
        for number in range(20):
            slot.add(str(number), Priority.LOW)
    assert slot.served == [str(number) for number in range(20)]


async def test_zero_aging_is_first_come_first_served() -> None:
    slot = OneSlot(aging=0)
    async with slot.runner:
        for number in range(20):
            slot.add(str(number), 9 - number % 10)
            await advance(0.01)
    assert slot.served == [str(number) for number in range(20)]


async def test_the_priority_of_the_call_overrides_that_of_the_task() -> None:
    order: list[str] = []

    @task(priority=Priority.LOW)
    async def low(label: str) -> None:
        order.append(label)

    async with TaskRunner(TaskSettings(max_concurrency=1)) as runner:
        runner.submit(low, "first, because the slot is free")
        runner.submit(low, "low")
        runner.submit(low, "high", priority=3)
        runner.options(priority=Priority.URGENT).submit(low, "urgent")
        summary = {summary.priority for summary in runner.snapshot().tasks}
        assert summary == {0, 3, 7}
    assert order[1:] == ["urgent", "high", "low"]


async def test_a_delayed_task_joins_the_queue_when_it_is_due() -> None:
    slot = OneSlot(aging=10)
    async with slot.runner:
        slot.add("delayed", delay=30)
        await advance(29.9)
        assert slot.served == []
        assert slot.runner.snapshot().tasks[0].age == pytest.approx(-0.1)
        slot.add("now")
        slot.add("later")
        await advance(0.1)
        assert slot.served == ["now"]
        await slot.runner.join(10)
    assert slot.served == ["now", "later", "delayed"]


@pytest.mark.parametrize("priority", [-1, 10, True, 1.0, "5"])
async def test_an_invalid_priority_is_refused(priority: int) -> None:
    async with TaskRunner(TaskSettings()) as runner:
        with pytest.raises(ValueError, match=r"priority\n.* (valid integer|or equal to [09])"):
            runner.submit(settle, priority=priority)
        assert runner.snapshot().queued == 0
