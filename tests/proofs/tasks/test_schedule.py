"""Schedules: their ticks, also across clock changes, and the schedules that are refused."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.tasks import TaskRunner, TaskSettings, periodic, task
from app.tasks.schedule import Schedule
from app.tasks.testing import next_runs
from tests.tasks.gate import Gate

from .recorder import Recorder

BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"
SPRING, AUTUMN = (BERLIN, "2026-03-29"), (BERLIN, "2026-10-25")  # 2 h to 3 h, 3 h to 2 h
HALF_SPRING, HALF_AUTUMN = (LORD_HOWE, "2026-10-04"), (LORD_HOWE, "2026-04-05")  # by half an hour
# The ticks before 4:00. As in Debian's cron, a fixed time of the day has one tick each day, and a
# schedule with an asterisk for the hour or the minute goes on through the change of the clock.
NIGHTS = [
    (*SPRING, "30 2 * * *", "03:00+02:00"),
    (*SPRING, "0 2,3 * * 0", "03:00+02:00"),
    (*SPRING, "30 1-3 * * *", "01:30+01:00 03:00+02:00 03:30+02:00"),
    (*SPRING, "30 * * * *", "00:30+01:00 01:30+01:00 03:30+02:00"),
    (*AUTUMN, "30 2 * * *", "02:30+02:00"),
    (*AUTUMN, "30 1-23 * * *", "01:30+02:00 02:30+02:00 03:30+01:00"),
    (*AUTUMN, "0 */2 * * *", "00:00+02:00 02:00+02:00 02:00+01:00"),
    (*AUTUMN, "*/40 2 * * *", "02:00+02:00 02:40+02:00 02:00+01:00 02:40+01:00"),
    (*HALF_SPRING, "15 2 * * *", "02:30+11:00"),
    (*HALF_SPRING, "30 * * * *", "00:30+10:30 01:30+10:30 02:30+11:00 03:30+11:00"),
    (*HALF_SPRING, "15 */3 * * *", "00:15+10:30 03:15+11:00"),
    (*HALF_AUTUMN, "45 1 * * *", "01:45+11:00"),
    (*HALF_AUTUMN, "45 1-3 * * *", "01:45+11:00 02:45+10:30 03:45+10:30"),
    (*HALF_AUTUMN, "30 */1 * * *", "00:30+11:00 01:30+11:00 01:30+10:30 02:30+10:30 03:30+10:30"),
    (*HALF_AUTUMN, "0 */2 * * *", "00:00+11:00 02:00+10:30"),
]


def ticks(schedule: Schedule, start: float, end: float) -> list[float]:
    result = []
    while (start := schedule.next_after(start)) < end:
        result.append(start)
    return result


@pytest.mark.parametrize(("zone", "day", "cron", "expected"), NIGHTS)
def test_ticks_are_right_in_nights_when_the_clock_changes(
    zone: str, day: str, cron: str, expected: str
) -> None:
    schedule = Schedule(cron, zone)
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    start = midnight.timestamp()
    of_the_day = ticks(schedule, start - 1, start + 20 * 3600)
    local = [datetime.fromtimestamp(tick, schedule.zone) for tick in of_the_day]
    shown = [f"{time:%H:%M}{time.isoformat()[-6:]}" for time in local if time.hour < 4]
    assert " ".join(shown) == expected
    # All processes compute the same ticks, whenever they were started.
    all_ticks = [start - 1, *of_the_day, schedule.next_after(of_the_day[-1])]
    for tick, following in pairwise(all_ticks):
        assert following in schedule
        for time in (tick, *range(int(tick) + 1, int(following), 900), following - 0.5):
            assert schedule.next_after(time) == following


def test_ticks_of_an_interval_are_counted_from_the_epoch() -> None:
    schedule = Schedule(timedelta(minutes=5))
    assert [schedule.next_after(time) for time in (0.0, 299.9, 300.0)] == [300.0, 300.0, 600.0]
    assert 600.0 in schedule
    assert 601.0 not in schedule
    assert str(schedule) == "every 0:05:00"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"schedule": "0 9 * *"}, "five fields"),
        ({"schedule": "0 0 9 * * *"}, "five fields"),
        ({"schedule": "60 * * * *"}, "Bad minute"),
        ({"schedule": "0 0 30 2 *"}, "day-of-month"),
        ({"schedule": "0 0 */31 2 1#5"}, "it matches no day"),
        ({"schedule": "@daily"}, "five fields"),
        ({"schedule": "0 9 * * *", "timezone": "Europe/Atlantis"}, "time zone database"),
        ({"schedule": "0 9 * * *", "timezone": "Europe"}, "time zone database"),
        ({"schedule": timedelta(seconds=0.5)}, "whole seconds"),
        ({"schedule": timedelta(seconds=1.5)}, "whole seconds"),
        ({"schedule": timedelta(minutes=5), "timezone": BERLIN}, "an interval has none"),
        ({"timezone": BERLIN}, "needs a schedule"),
    ],
)
def test_the_decorator_refuses_an_invalid_schedule(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):

        @task(**options)
        async def report() -> None: ...


def test_a_periodic_task_must_not_require_arguments() -> None:
    with pytest.raises(ValueError, match="called without arguments"):

        @task(schedule="0 9 * * *")
        async def report(day: str) -> None: ...

    @task(schedule="0 9 * * *")
    async def digest(day: str = "today") -> None: ...


def test_next_runs_lists_the_coming_ticks() -> None:
    @task(schedule="0 9 * * 1-5", timezone=BERLIN)
    async def digest() -> None: ...

    friday = datetime(2026, 3, 27, 12, tzinfo=UTC)
    runs = [f"{run:%a %d %H:%M %Z}" for run in next_runs(digest, friday, 2)]
    assert runs == ["Mon 30 09:00 CEST", "Tue 31 09:00 CEST"]
    with pytest.raises(ValueError, match="time zone"):
        next_runs(digest, friday.replace(tzinfo=None), 1)
    with pytest.raises(ValueError, match="schedule"):
        next_runs(task(digest), friday, 1)


async def test_without_periodic_no_in_memory_tick_is_submitted() -> None:
    daily = task(name="daily", schedule="0 9 * * *")(lambda: None)
    for is_on in (True, False):
        async with TaskRunner(TaskSettings(periodic=is_on), tasks=[daily]) as runner:
            assert [task.name for task in runner._periodic._schedules] == ["daily"] * is_on


async def test_an_in_memory_tick_is_submitted_once_and_missed_ones_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=10_000.0)
    monkeypatch.setattr(periodic, "time", lambda: clock.now)
    monkeypatch.setattr(periodic, "_PAUSE", 0.01)
    runs: list[float] = []

    @task(schedule=timedelta(minutes=1))
    async def note() -> None:
        runs.append((clock.now - 9600) / 60)

    async with TaskRunner(TaskSettings(), tasks=[note]) as runner:
        for minutes in (6.9, 7, 7.9, 10.1, 8.5, 10.9, 11, -100.1, -100):
            clock.now = 9600 + minutes * 60
            for _ in range(2):  # the first step may have begun before the clock was set
                await runner._periodic._loop.stepped.wait()
            await runner.join(5)
    assert runs == [7, pytest.approx(10.1), 11, -100]  # the last after the clock was set back


async def test_a_tick_that_a_full_queue_refuses_does_not_block_others(
    monkeypatch: pytest.MonkeyPatch, gate: Gate, recorder: Recorder
) -> None:
    clock = SimpleNamespace(now=10_000.0)
    monkeypatch.setattr(periodic, "time", lambda: clock.now)

    async def tick() -> None: ...

    tasks = [task(name=name, schedule=timedelta(minutes=1))(tick) for name in ("one", "other")]
    settings = TaskSettings(max_concurrency=1, queue_size=1, drain_timeout=0)
    async with TaskRunner(settings, [recorder], tasks=tasks) as runner:
        for _ in range(2):  # one runs, one waits
            runner.submit(gate.hold)
        await runner._periodic._loop.stepped.wait()  # the first step counts from the start
        clock.now += 60
        await runner._periodic._loop.stepped.wait()
        assert recorder.names("rejected") == ["one", "other"]
