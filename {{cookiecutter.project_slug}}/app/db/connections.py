"""The open connections of a process, so that a server that hangs cannot hold up its end."""

import asyncio
from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry


class Connections:
    """Knows what its engines have opened, also what is in use: `dispose` closes only the rest."""

    def __init__(self, engines: Iterable[AsyncEngine]) -> None:
        self._open: WeakSet[Any] = WeakSet()
        self._closed = False
        self._closing: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        for engine in engines:
            event.listen(engine.sync_engine, "connect", self._add)
            event.listen(engine.sync_engine, "do_connect", self._refuse)

    def close_in(self, seconds: float) -> None:
        """Break off every statement after some time, and begin none any more.

        Whoever waits for one gets an OperationalError.
        """
        self._timer = asyncio.get_running_loop().call_later(seconds, self._close)

    def forget(self) -> None:
        """Take `close_in` back."""
        if self._timer is not None:
            self._timer.cancel()

    def _close(self) -> None:
        # Cancelling whoever waits would not do: a driver may take ten seconds to tell the server.
        self._closed = True
        self._closing = [asyncio.create_task(connection.close()) for connection in self._open]

    def _add(self, _: object, record: ConnectionPoolEntry) -> None:
        self._open.add(record.driver_connection)

    def _refuse(self, *_: object) -> None:
        if self._closed:
            raise OperationalError(None, None, ConnectionError("the service is ending"))
