"""Limits that hold across workers."""

import time
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
            begin = time.monotonic()
            for _ in range(RATED):
                runner.submit(rated)
            await journal.until("ran", RATED, name="rated")
            assert journal.all_of("ran", "at")[-1] - begin > 1.9  # two in a second
            count = 0
            while {e["pid"] for e in journal.entries("began")} != {first.pid, second.pid}:
                for _ in range(8):
                    runner.submit(limited)
                count += 8
                await journal.until("ended", count)
    steps = [e["event"] for e in journal._entries if e["event"] in {"began", "ended"}]
    assert steps == ["began", "ended"] * count
