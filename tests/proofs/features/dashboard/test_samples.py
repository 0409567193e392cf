"""The queue over the last minutes."""

import pytest

from app.features.dashboard.samples import INTERVAL, SPAN, Samples

from .snapshots import snapshot


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.features.dashboard.samples.monotonic", lambda: clock.now)
    return clock


def test_the_throughput_needs_two_samples(clock: Clock) -> None:
    samples = Samples()
    assert samples.throughput(60) is None
    samples.add(snapshot({}))
    assert samples.throughput(60) is None
    clock.now += 10
    samples.add(snapshot({}, succeeded=15, failed=5))

    assert samples.throughput(60) == 2
    clock.now += 55
    assert samples.throughput(60) is None


def test_memory_is_bounded(clock: Clock) -> None:
    samples = Samples()
    for _ in range(1000):
        samples.add(snapshot({}))
        clock.now += INTERVAL

    assert len(samples.since(0)) == SPAN / INTERVAL
