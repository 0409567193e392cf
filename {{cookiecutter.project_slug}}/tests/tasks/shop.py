"""A small shop: the tasks and endpoints that the tests of the task module use.

Task names begin with `test_`, because the service may have a task `ship` of its own.
Tests that end a process run the shop with `uvicorn tests.tasks.shop_process:app`.
"""

import asyncio
import os
from typing import Any

import structlog
from fastapi import APIRouter, HTTPException
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.db import SessionDep, task_session
from app.feature import Feature
from app.tasks import (
    FailedTask,
    Retry,
    Task,
    TaskObserver,
    Tasks,
    current_runner,
    current_task,
    step,
    task,
)

HANGS = "SHOP_HANGS" in os.environ
"""Whether tasks begin and never end."""
happened: list[str] = []
"""Everything that has happened, in order; it is logged, too."""
logger = structlog.get_logger(__name__)
router = APIRouter()


def note(text: str) -> None:
    happened.append(text)
    logger.info(text)


async def work(text: str) -> None:
    note(f"{text} begins")
    if HANGS:
        await asyncio.Event().wait()
    note(f"{text} is done")


@task(name="test_pack")
async def pack(order: int) -> None:
    await work(f"packing {order}")


@task(name="test_ship", durable=True)
async def ship(order: int) -> None:
    await work(f"shipping {order}")


@task(name="test_restock", durable=True, retry=Retry(attempts=2, delay=0))
async def restock(order: int) -> None:
    """Submit the shipping of an order, and fail in the first attempt."""
    info = current_task()
    assert info is not None
    note(f"restocking in {info.id}")
    async with task_session():
        current_runner().submit(ship, order)
        if info.attempt == 1:
            raise ConnectionError


async def book(order: int) -> int:
    """Submit the shipping of an order in a transaction; return its parcel number."""
    note(f"booking {order}")
    async with task_session():
        current_runner().submit(ship, order)
    return 1000 + order


@task(name="test_charge", durable=True, retry=Retry(attempts=2, delay=0))
async def charge(order: int) -> None:
    """Book a parcel in a step; then fail in the first attempt, and charge in the second."""
    parcel = await step("book", book, order)
    info = current_task()
    assert info is not None
    if info.attempt == 1:
        raise ConnectionError
    note(f"parcel {parcel} is paid")


@task(name="test_apologize", durable=True)
async def apologize(failed: FailedTask) -> None:
    note(f"{failed.name} {failed.arguments} {failed.state}: {failed.error}")


@task(name="test_lose", durable=True, retry=Retry(attempts=2, delay=0), on_failure=apologize)
async def lose(order: int) -> None:
    raise LookupError(order)


def end_process() -> None:
    os._exit(77)


@task(name="test_explode", durable=True)
async def explode() -> None:
    note("explosion")
    end_process()


def fail(_: Session) -> None:
    raise ConnectionError


@router.post("/test-shop/{order}", status_code=202)
async def accept(
    order: int, session: SessionDep, tasks: Tasks, problem: str | None = None
) -> list[str]:
    """Pack and ship an order; `problem` selects what fails after the tasks were added."""
    ids = [tasks.add_task(pack, order), tasks.add_task(ship, order)]
    if problem == "conflict":
        raise HTTPException(409)
    if problem == "bug":
        raise ZeroDivisionError
    if problem == "commit":
        event.listen(session.sync_session, "before_commit", fail)
    event.listen(session.sync_session, "after_commit", lambda _: note("commit"))
    return ids


@router.post("/test-explosions", status_code=202)
async def add_explosion(_: SessionDep, tasks: Tasks) -> str:
    return tasks.add_task(explode)


def create_shop(*observers: TaskObserver) -> Feature:
    happened.clear()
    tasks: list[Task[..., Any]] = [pack, ship, restock, charge, lose, apologize, explode]
    return Feature(name="shop", router=router, tasks=tasks, observers=observers, public=True)
