"""The helpers for tests of tasks: `app.tasks.testing`."""

import httpx2
from fastapi import FastAPI

from app.tasks import Options, Retry, Snooze, TaskRunner, TaskSettings, current_task, task
from app.tasks.testing import Call, run_waiting, submitted_to

from .shop import pack, ship

HOUR = 3600.0
attempts: list[int] = []


@task(name="test_deliver", durable=True, retry=Retry(attempts=2, delay=HOUR))
async def deliver() -> None:
    """Fail once, then ask for another run, then succeed."""
    info = current_task()
    assert info is not None
    attempts.append(info.attempt)
    if len(attempts) == 1:
        raise ConnectionError
    if len(attempts) == 2:
        raise Snooze(HOUR)


async def test_submitted_to_lists_the_tasks_of_a_request(
    client: httpx2.AsyncClient, runner: TaskRunner
) -> None:
    with submitted_to(runner) as calls:
        await client.post("/test-shop/7")
        await client.post("/test-shop/8?problem=bug")
        runner.options(delay=HOUR).submit(pack, order=9)

    of_request = [Call(pack, (7,), {}), Call(ship, (7,), {})]
    assert calls == [*of_request, Call(pack, (), {"order": 9}, Options(delay=HOUR))]


async def test_run_waiting_runs_delayed_retried_and_snoozed_tasks_at_once(app: FastAPI) -> None:
    settings, database = TaskSettings(), app.state.database
    for in_memory in (True, False):
        attempts.clear()
        async with TaskRunner(
            settings, tasks=[deliver], sessions=database.session, in_memory=in_memory
        ) as runner:
            async with database.session():
                runner.options(delay=HOUR).submit(deliver)
            await run_waiting(runner, 30)

        assert attempts == [1, 2, 2]
