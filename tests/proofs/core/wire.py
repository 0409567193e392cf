"""Raw bytes on a new connection, as no HTTP client would send them."""

import socket
from contextlib import suppress

from tests.server import SECONDS, ServerProcess


def exchange(server: ServerProcess, *chunks: bytes, half_close: bool = False) -> bytes:
    """Send raw bytes on a new connection; return everything that comes back.

    The server may close the connection before it has read all of it.
    """
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    received = b""
    with socket.create_connection(address, timeout=SECONDS) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"".join(chunks))
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while data := connection.recv(65536):
                received += data
    return received
