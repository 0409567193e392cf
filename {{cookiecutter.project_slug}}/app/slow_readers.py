"""Ends answers whose reader does not read: a connection that stands still costs memory for ever."""

import asyncio

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = structlog.get_logger(__name__)


class SlowReaders:
    """Closes a connection when a part of a streamed answer cannot be written for `seconds`.

    An answer in one piece is left alone: the server keeps it without the application, and a timer
    would cost every request. It belongs around all other layers, where `send` is the server's own.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, self._seconds)
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            if not answer.given_up:
                raise
        if answer.given_up:
            logger.info("a slow reader lost its connection", path=scope["path"])


class _Answer:
    """One answer on its way."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send = send
        self._seconds = seconds
        self._streamed = False
        self.given_up = False

    async def send(self, message: Message) -> None:
        """Send a part; raises ClientDisconnect when a streamed one takes too long."""
        self._streamed = self._streamed or message.get("more_body", False)
        if not self._streamed:
            await self._send(message)
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(message)
        except TimeoutError:
            self.given_up = True
            _abort(self._send)
            raise ClientDisconnect from None


def _abort(send: Send) -> None:
    """Close the connection at once: uvicorn's own closing waits for the reader, perhaps for ever.

    ASGI has no word for it. Elsewhere than on uvicorn the server learns of it by the exception.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
