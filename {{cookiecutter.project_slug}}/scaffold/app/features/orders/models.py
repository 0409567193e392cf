"""The tables of orders."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, UtcDateTime


class Order(Base):
    """An order, and when it was processed."""

    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    title: Mapped[str]
    done_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
