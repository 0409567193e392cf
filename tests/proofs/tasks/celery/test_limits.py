"""Limits that hold across workers."""

from pathlib import Path

from .application import limited, publishing, rated
from .brokers import Valkey
from .journal import Journal
from .workers import WorkerProcess

RATED = 5


async def test_two_workers_share_the_limits_of_a_task(
    tmp_path: Path, journal: Journal, valkey: Valkey, shipping: str
) -> None:
    def worker() -> WorkerProcess:
        return WorkerProcess(tmp_path, journal, CELERY_BROKER_URL=valkey.url, DATABASE_URL=shipping)

    with worker() as first, worker() as second:
        first.wait_until_ready()
        second.wait_until_ready()
        async with publishing(valkey.url, shipping) as runner:
            for _ in range(8):
                runner.submit(limited)
            for _ in range(RATED):
                runner.submit(rated)
            await journal.until("ended", 8)
            await journal.until("ran", RATED, name="rated")
    steps = [e["event"] for e in journal._entries if e["event"] in {"began", "ended"}]
    assert steps == ["began", "ended"] * 8
    times = journal.all_of("ran", "at")
    assert times[-1] - times[0] > 1.5  # two windows of a second, but for what the way takes
    pids = {e["pid"] for e in journal.entries("began") + journal.entries("ran")}
    assert pids <= {first.pid, second.pid}
    assert len(pids) == 2
