"""The tasks of orders."""

from uuid import UUID

from app.db import task_session, utc_now
from app.tasks import Retry, task

from .models import Order


@task(durable=True, timeout=30, retry=Retry(attempts=3))
async def process_order(order_id: UUID) -> None:
    """Process an order. After a crash it runs again, so a second run must do no harm."""
    async with task_session() as session:
        order = await session.get_one(Order, order_id)
        order.done_at = order.done_at or utc_now()
