"""Group commit: many small writes at the same time become one transaction."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Batcher(Generic[Item]):
    """Collects what arrives while a write is under way, and writes it together.

    Nobody waits for company: the first item is written at once.
    """

    def __init__(self, write: Callable[[list[Item]], Awaitable[None]]) -> None:
        self._write = write
        self._items: list[Item] = []
        self._batch: asyncio.Task[None] | None = None
        """Writes the items, when the batch before has been written."""

    async def add(self, item: Item) -> None:
        """Return when `item` has been written, or raise what its write raised."""
        if self._batch is None or not self._items:
            # In a context of its own: it serves others than the task that happened to be first.
            loop = asyncio.get_running_loop()
            self._batch = loop.create_task(self._write_after(self._batch), context=Context())
        self._items.append(item)
        await asyncio.shield(self._batch)  # which goes on for the others if this is cancelled

    async def _write_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        items, self._items = self._items, []
        await self._write(items)
