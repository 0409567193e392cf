"""A real server that is killed at work: every accepted task takes effect, once."""

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.databases.server import run
from tests.server import ServerProcess
from waiting import wait_until

SERVICE = """
from fastapi import APIRouter
from sqlalchemy import text
from app.db import SessionDep, task_session
from app.feature import Feature
from app.service import create_app
from app.tasks import Tasks, current_task, task

router = APIRouter()
INSERT = "INSERT INTO shipped VALUES (:task_id, :n) ON CONFLICT (task_id) DO NOTHING"

@task(name="ship", durable=True)
async def ship(n: int):
    values = {"task_id": current_task().id, "n": n}
    async with task_session() as session:
        # A second run of the same task changes nothing, because it has the same id.
        await session.execute(text(INSERT), values)
        await session.execute(text("UPDATE stock SET runs = runs + 1"))

@router.post("/orders/{n}", status_code=202)
async def order(n: int, session: SessionDep, tasks: Tasks) -> str:
    await session.execute(text("INSERT INTO orders VALUES (:n)"), {"n": n})
    return tasks.add_task(ship, n)

app = create_app(features=[Feature(name="shop", router=router, tasks=[ship], public=True)])
"""
CALLERS = 4
OPEN = "SELECT id FROM background_tasks WHERE state IN ('queued', 'running')"


class Shop:
    """The service, its database, and callers who keep the orders that were accepted."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "service.py").write_text(SERVICE, encoding="utf-8")
        self._folder = folder
        self._url = url
        self._numbers = count()
        self.accepted: list[int] = []
        self.run("CREATE TABLE orders (n INTEGER)")
        self.run("CREATE TABLE shipped (task_id VARCHAR(32) UNIQUE, n INTEGER)")
        self.run("CREATE TABLE stock (runs INTEGER)")
        self.run("INSERT INTO stock VALUES (0)")

    def run(self, statement: str) -> list[Any]:
        return [row[0] for row in run(self._url, statement)]

    def serve(self) -> ServerProcess:
        return ServerProcess(
            self._folder, "service:app", ENVIRONMENT="test", TASKS_LEASE="1", SHUTDOWN_DELAY="0",
            TASKS_MAX_CONCURRENCY="3", DATABASE_URL=self._url,
        )  # fmt: skip

    def order_until(self, server: ServerProcess, goal: int, then: Callable[[], None]) -> None:
        """Order concurrently until `goal` orders were accepted; then call `then`."""
        url, done = server.url, threading.Event()

        def call() -> None:
            with httpx2.Client(base_url=url, timeout=10, verify=False) as client:
                while not done.is_set():
                    n = next(self._numbers)
                    try:
                        if client.post(f"/orders/{n}").status_code != 202:
                            return
                    except httpx2.TransportError:
                        return  # it may or may not have been accepted
                    self.accepted.append(n)
                    if len(self.accepted) >= goal and not done.is_set():
                        done.set()
                        then()

        with ThreadPoolExecutor(CALLERS) as callers:
            for caller in [callers.submit(call) for _ in range(CALLERS)]:
                caller.result(20)

    def finish(self) -> None:
        """Wait until every task has ended."""
        wait_until(lambda: not self.run(OPEN), 20)

    def assert_all_done(self) -> None:
        orders, shipped = self.run("SELECT n FROM orders"), self.run("SELECT n FROM shipped")
        assert set(self.accepted) <= set(orders)
        assert sorted(shipped) == sorted(orders)  # each order once, also if its answer was lost
        states = self.run("SELECT DISTINCT state FROM background_tasks")
        assert states == ["succeeded"]


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Shop:
    return Shop(tmp_path, database_url)


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.exhaustive)])
def test_kill_nine_loses_no_task(shop: Shop, kills: int) -> None:
    interrupted = 0
    for goal in range(40, 40 * kills + 1, 40):
        with shop.serve() as server:
            shop.order_until(server, goal, server.kill)
            assert server.wait_for_exit() == -signal.SIGKILL
        interrupted += len(shop.run(OPEN))
    with shop.serve():
        shop.finish()
    assert len(shop.accepted) >= 40 * kills
    assert interrupted > 0
    shop.assert_all_done()


def test_a_server_exits_in_time_on_sigterm_and_loses_no_task(shop: Shop) -> None:
    with shop.serve() as server:
        shop.order_until(server, 60, server.terminate)
        begin = time.monotonic()
        assert server.wait_for_exit() == -signal.SIGTERM
        assert time.monotonic() - begin < 5
        assert "Traceback" not in "".join(server.output)
    owners = shop.run("SELECT count(*) FROM background_tasks WHERE owner IS NOT NULL")
    assert owners == [0]
    with shop.serve():
        shop.finish()
    shop.assert_all_done()
    assert shop.run("SELECT runs FROM stock") == shop.run("SELECT count(*) FROM orders")
