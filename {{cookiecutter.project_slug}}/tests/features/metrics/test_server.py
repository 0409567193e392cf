"""Metrics on a port of their own."""

import errno
import socket

import httpx2
import pytest

from app.features.metrics import create_feature, server
from app.settings import Settings


def is_served(port: int) -> bool:
    try:
        response = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=5)
    except httpx2.TransportError:
        return False
    return "python_info" in response.text


async def test_every_process_takes_the_next_free_port(settings_env: pytest.MonkeyPatch) -> None:
    from app.main import create_app  # noqa: PLC0415 - importing it reads the settings

    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1]
        settings_env.setenv("METRICS_PORT", str(first))
        app = create_app()
        async with app.router.lifespan_context(app):
            other = create_app()
            async with other.router.lifespan_context(other):
                ports = [port for port in range(first + 1, first + 64) if is_served(port)]
    assert len(ports) >= 2
    assert not any(is_served(port) for port in ports)


async def test_no_free_port_stops_the_start(settings_env: pytest.MonkeyPatch) -> None:
    from app.main import create_app  # noqa: PLC0415

    settings_env.setattr(server, "PORTS", 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings_env.setenv("METRICS_PORT", str(taken.getsockname()[1]))
        app = create_app()
        with pytest.raises(OSError, match="METRICS_PORT: no port from") as raised:
            async with app.router.lifespan_context(app):
                pass
    assert raised.value.errno == errno.EADDRINUSE


async def test_there_is_no_port_unless_asked_for() -> None:
    assert create_feature(Settings()).lifespan is None
