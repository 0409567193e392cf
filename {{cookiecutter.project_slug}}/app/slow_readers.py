"""Ends answers whose reader does not read: a connection that stands still costs memory for ever."""

import asyncio

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = structlog.get_logger(__name__)


class SlowReaders:
    """Closes a connection when a part of a streamed answer cannot be written for `seconds`.

    An answer in one piece is left alone: the server keeps it without the application. It belongs
    around all other layers, where `send` is the server's own.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_streamed = gave_up = False

        async def send_in_time(message: Message) -> None:
            nonlocal is_streamed, gave_up
            is_streamed = is_streamed or message.get("more_body", False)
            try:
                async with asyncio.timeout(self._seconds if is_streamed else None):
                    await send(message)
            except TimeoutError:
                gave_up = True
                _abort(send)
                raise ClientDisconnect from None

        try:
            await self._app(scope, receive, send_in_time)
        except Exception:
            if not gave_up:
                raise
        if gave_up:
            logger.info("a slow reader lost its connection", path=scope["path"])


def _abort(send: Send) -> None:
    """Close the connection at once: uvicorn's own closing waits for the reader, perhaps for ever.

    ASGI has no word for it. Elsewhere than on uvicorn the server learns of it by the exception.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
