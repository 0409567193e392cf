"""Publishes tasks for celery_engine.py: reads a number from each line, prints the seconds taken."""

from __future__ import annotations

import asyncio
import sys
import time


async def publish_ours() -> None:
    """Submit to the service's runner."""
    from app.tasks.celery import CeleryRunner  # noqa: PLC0415 - plain Celery must not load it
    from celery_worker import celery_settings, nothing, settings  # noqa: PLC0415 - as above

    async with CeleryRunner(settings, celery_settings=celery_settings, tasks=[nothing]) as runner:
        while line := await asyncio.to_thread(sys.stdin.readline):
            began = time.perf_counter()
            for number in range(int(line)):
                runner.submit(nothing, number)
            await runner.join()
            print(time.perf_counter() - began, flush=True)


def publish_plain() -> None:
    """Call `delay`, as Celery's users do."""
    from celery_plain import nothing  # noqa: PLC0415 - ours must not load it

    for line in sys.stdin:
        began = time.perf_counter()
        for number in range(int(line)):
            nothing.delay(number)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "celery_worker":
        asyncio.run(publish_ours())
    else:
        publish_plain()
