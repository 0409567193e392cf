"""The routes of orders; each needs an API key."""

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
    """An order as a caller sends it."""

    # No NUL characters, which not every database can store.
    title: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")


class OrderOut(OrderIn):
    """An order as the service returns it."""

    id: UUID
    done_at: datetime | None


@router.post("", status_code=202, response_model=OrderOut)
async def create_order(
    body: OrderIn,
    session: SessionDep,
    tasks: Tasks,
) -> Any:
    """Store an order, and process it after the response."""
    order = Order(title=body.title)
    session.add(order)
    await session.flush()  # sets the id
    tasks.add_task(process_order, order.id)
    return order


@router.get("/{order_id}", response_model=OrderOut)
async def read_order(order_id: UUID, session: ReadSessionDep) -> Any:
    """Return an order."""
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(404, "there is no such order")
    return order
