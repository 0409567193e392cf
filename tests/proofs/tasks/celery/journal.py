"""A journal to which tasks in other processes report, and a gate at which a test holds them."""

import asyncio
import json
import os
import socket
import socketserver
import threading
import time
from typing import Any, Self

SECONDS = 60.0
"""How long to wait for anything; a test that passes needs far less."""
ADDRESS = "TEST_JOURNAL"
"""Environment variable with the port of the journal."""

Entry = dict[str, Any]


class Journal(socketserver.ThreadingTCPServer):
    """Collects entries from a socket; the sender of an entry with `hold` waits at the gate."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Listener)
        self._entries: list[Entry] = []
        self._changed = threading.Condition()
        self._gate = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open_gate()
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment variables with which a process finds the journal."""
        return {ADDRESS: str(self.server_address[1])}

    def clear(self) -> None:
        """Remove all entries and close the gate."""
        self.open_gate()
        self._gate = threading.Event()
        with self._changed:
            self._entries.clear()

    def open_gate(self) -> None:
        """Release every sender, now and later."""
        self._gate.set()

    def entries(self, event: str, **values: Any) -> list[Entry]:
        """Return the entries of an event that have these `values`, in order."""
        with self._changed:
            return [
                entry
                for entry in self._entries
                if entry["event"] == event and all(entry.get(k) == v for k, v in values.items())
            ]

    def all_of(self, event: str, key: str) -> list[Any]:
        """Return one value of all entries of an event, in order."""
        return [entry[key] for entry in self.entries(event)]

    def wait_for(
        self, event: str, count: int = 1, within: float = SECONDS, **values: Any
    ) -> list[Entry]:
        """Block until there are `count` entries of an event with these `values`; return them."""
        with self._changed:
            enough = self._changed.wait_for(
                lambda: len(self.entries(event, **values)) >= count, within
            )
            assert enough, f"{count} of {event} {values} wanted: {self._entries[-30:]}"
            return self.entries(event, **values)

    async def until(self, event: str, count: int = 1, **values: Any) -> list[Entry]:
        """Do the same as `wait_for` without blocking the event loop."""
        return await asyncio.to_thread(self.wait_for, event, count, **values)

    def note(self, entry: Entry) -> None:
        """Add an entry."""
        with self._changed:
            self._entries.append({**entry, "at": time.monotonic()})
            self._changed.notify_all()

    def hold(self) -> None:
        """Block until the gate is opened."""
        self._gate.wait(SECONDS)


class _Listener(socketserver.StreamRequestHandler):
    server: Journal

    def handle(self) -> None:
        line = self.rfile.readline()
        if not line:
            return
        entry = json.loads(line)
        self.server.note(entry)
        if entry.get("hold"):
            self.server.hold()
        self.wfile.write(b"go\n")


def tell(event: str, **values: Any) -> None:
    """Add an entry from a thread; with `hold` return when the gate is opened."""
    address = ("127.0.0.1", int(os.environ[ADDRESS]))
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall(_line(event, values))
        connection.recv(16)


async def tell_async(event: str, **values: Any) -> None:
    """Add an entry from an event loop; with `hold` return when the gate is opened."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ[ADDRESS]))
    try:
        writer.write(_line(event, values))
        await reader.readline()
    finally:
        writer.close()


def _line(event: str, values: dict[str, Any]) -> bytes:
    return json.dumps({"event": event, "pid": os.getpid(), **values}).encode() + b"\n"
