"""Counts the calls of a method, so that a test can wait for further calls."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest


class Calls:
    """Wraps an async method of an object and counts its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.count = 0
        self.before: Callable[[], Any] | None = None
        """Awaited before every call; its exception replaces the call."""
        self.after: Callable[[], Any] | None = None
        """Awaited after every call, before its result is returned."""
        self._method = getattr(owner, name)
        self._changed = asyncio.Event()
        monkeypatch.setattr(owner, name, self._call)

    async def more(self, count: int) -> None:
        """Wait for `count` more calls."""
        goal = self.count + count
        async with asyncio.timeout(10):
            while self.count < goal:
                self._changed.clear()
                await self._changed.wait()

    async def _call(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if self.before is not None:
                await self.before()
            result = await self._method(*args, **kwargs)
            if self.after is not None:
                await self.after()
            return result
        finally:
            self.count += 1
            self._changed.set()
