"""A feature such as users add: a table, tasks and headers, with the names that users choose."""

from __future__ import annotations

from pathlib import Path

ORDERS = '''"""Orders."""

from fastapi import APIRouter
from sqlalchemy.orm import Mapped, mapped_column
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.db import Base, SessionDep
from app.feature import Feature
from app.settings import Settings
from app.tasks import Tasks, task

router = APIRouter(tags=["orders"])


class Order(Base):
    """An order of a customer."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


@task(durable=True)
async def ship(order: int) -> None:
    """Send an order."""


@task
async def pack(order: int) -> None:
    """Put an order into a box."""


@task(durable=True, schedule="* * * * *")
async def remind() -> None:
    """Remind customers of what they have not paid."""


@task(schedule="* * * * *")
async def tidy() -> None:
    """Throw empty boxes away."""


@router.post("/orders", status_code=202)
async def accept(item: str, session: SessionDep, tasks: Tasks) -> int:
    """Take an order."""
    order = Order(item=item)
    session.add(order)
    await session.flush()
    tasks.add_task(pack, order.id)
    tasks.add_task(ship, order.id)
    return order.id


class MoreHeaders:
    """Adds headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(b"x-shop", b"1"), (b"permissions-policy", b"camera=()")]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, send_more)


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    return Feature(
        name="orders",
        router=router,
        tasks=[ship, pack, remind, tidy],
        middleware=[Middleware(MoreHeaders)],
    )
'''


def add_orders(project: Path) -> None:
    """Write the feature into a service."""
    feature = project / "app" / "features" / "orders"
    feature.mkdir()
    (feature / "__init__.py").write_text(ORDERS, encoding="utf-8")
