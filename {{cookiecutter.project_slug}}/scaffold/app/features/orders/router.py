"""The routes. Each wants an API key."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from app.db import ReadSessionDep, SessionDep
from app.tasks import Tasks

from .models import Order
from .tasks import process_order

router = APIRouter(prefix="/orders", tags=["orders"])


class OrderIn(BaseModel):
    """What a caller sends."""

    # Without NUL, which not every database can store.
    title: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")


class OrderOut(OrderIn):
    """What a caller gets."""

    id: UUID
    done_at: datetime | None


@router.post("", status_code=202, response_model=OrderOut)
async def create_order(
    body: OrderIn,
    session: SessionDep,
    tasks: Tasks,
) -> Any:
    """Store it, and process it after the response."""
    item = Order(title=body.title)
    session.add(item)
    await session.flush()  # before it, the id is None
    tasks.add_task(process_order, item.id)
    return item


@router.get("/{order_id}", response_model=OrderOut)
async def read_order(order_id: UUID, session: ReadSessionDep) -> Any:
    """Return one."""
    item = await session.get(Order, order_id)
    if item is None:
        raise HTTPException(404, "there is no such order")
    return item
