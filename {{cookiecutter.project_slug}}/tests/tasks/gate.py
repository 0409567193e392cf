"""A task body that waits until a test lets it end."""

import asyncio
from typing import Any


class Gate:
    """Holds every call of `hold` until it is opened, and records their labels in order."""

    def __init__(self) -> None:
        self.entered: list[Any] = []
        self.left: list[Any] = []
        self.inside = 0
        self.most_inside = 0
        self._open = asyncio.Event()
        self._arrival = asyncio.Event()

    def open(self) -> None:
        """Let all calls of `hold` return, present and future ones."""
        self._open.set()

    async def hold(self, label: Any = None) -> None:
        """Wait until the gate is opened."""
        self.entered.append(label)
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self._arrival.set()
        try:
            await self._open.wait()
        finally:
            self.inside -= 1
        self.left.append(label)

    async def holds(self, count: int) -> None:
        """Wait until `hold` has been called `count` times."""
        async with asyncio.timeout(30):
            while len(self.entered) < count:
                self._arrival.clear()
                await self._arrival.wait()
