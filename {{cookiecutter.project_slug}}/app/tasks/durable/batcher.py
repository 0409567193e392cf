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
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> None:
        """Return when `item` has been written, or raise what its write raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((item, future))
        if self._writing is None:
            # In a context of its own: it serves others than the task that happened to be first.
            self._writing = loop.create_task(self._write_all(), context=Context())
        await future

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._write_batch(batch)
        finally:
            self._writing = None

    async def _write_batch(self, batch: list[tuple[Item, asyncio.Future[None]]]) -> None:
        problem: Exception | None = None
        try:
            await self._write([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
            problem = error
        for _, future in batch:
            if future.done():  # its task may have been cancelled
                continue
            if problem is None:
                future.set_result(None)
            else:
                future.set_exception(problem)
