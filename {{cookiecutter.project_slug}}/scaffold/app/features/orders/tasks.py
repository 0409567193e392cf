"""The tasks."""

from uuid import UUID

from app.db import task_session, utc_now
from app.tasks import Retry, task

from .models import Order


@task(durable=True, timeout=30, retry=Retry(attempts=3))
async def process_order(order_id: UUID) -> None:
    """Do the work. After a crash it runs again: a second run must do no harm."""
    async with task_session() as session:
        item = await session.get_one(Order, order_id)
        item.done_at = item.done_at or utc_now()
