"""Requests as ASGI messages, in the order in which a server sees them."""

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from app.tasks import TaskObserver, TaskRunner, TaskSettings

Message = dict[str, Any]


@asynccontextmanager
async def running(
    app: FastAPI, *observers: TaskObserver, **settings: Any
) -> AsyncIterator[TaskRunner]:
    """Give an application a runner, as its lifespan does in the service."""
    async with TaskRunner(TaskSettings(**settings), observers) as runner:
        app.state.runner = runner
        yield runner


@dataclass
class Exchange:
    """One request: `messages` followed by a disconnect; `sent` collects the answer."""

    path: str
    method: str = "GET"
    kind: str = "http"
    messages: Iterable[Message] = ({"type": "http.request", "body": b"", "more_body": False},)
    on_send: Callable[[Message], None] = lambda _: None
    sent: list[Message] = field(default_factory=list)

    async def run(self, app: FastAPI) -> None:
        """Call the application; its exceptions propagate, as they would to a server."""
        messages = iter(self.messages)

        async def receive() -> Message:
            last = "http.disconnect" if self.kind == "http" else "websocket.disconnect"
            return next(messages, {"type": last, "code": 1001})

        async def send(message: Any) -> None:
            self.on_send(message)
            self.sent.append(message)

        await app(self._scope(app), receive, send)

    @property
    def status(self) -> int:
        """Return the status of the answer."""
        status: int = self.sent[0]["status"]
        return status

    @property
    def json(self) -> Any:
        """Return the body of the answer."""
        return json.loads(b"".join(message.get("body", b"") for message in self.sent))

    def _scope(self, app: FastAPI) -> Message:
        return {
            "type": self.kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", b"application/json")],
            "subprotocols": [],
            "client": ("test", 1),
            "server": ("test", 80),
            "app": app,
            "state": {},
        }
