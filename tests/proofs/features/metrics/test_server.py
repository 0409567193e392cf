"""The separate port for metrics."""

import errno
import socket

import pytest

from app.features import metrics
from app.service import create_app


async def test_startup_fails_when_no_metrics_port_is_free(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setattr(metrics, "PORTS", 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings_env.setenv("METRICS_PORT", str(taken.getsockname()[1]))
        app = create_app()
        with pytest.raises(OSError, match="METRICS_PORT: no port from") as raised:
            async with app.router.lifespan_context(app):
                pass
    assert raised.value.errno == errno.EADDRINUSE


async def test_several_processes_without_a_metrics_port_are_logged_as_a_warning(
    settings_env: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings_env.setenv("WEB_CONCURRENCY", "2")
    app = create_app()
    async with app.router.lifespan_context(app):
        assert (
            "each scrape of /metrics reaches a different process: set METRICS_PORT" in caplog.text
        )


async def test_metrics_port_is_off_by_default(settings_env: pytest.MonkeyPatch) -> None:
    listened: list[object] = []
    settings_env.setattr(metrics, "start_http_server", lambda *args: listened.append(args))
    app = create_app()
    async with app.router.lifespan_context(app):
        assert listened == []
