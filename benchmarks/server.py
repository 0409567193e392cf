"""A server under test: starts uvicorn, and reads its memory and processor time."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]  # it has no types
from load import API_KEY

HERE = Path(__file__).parent
PYTHON = Path(".venv", "Scripts" if os.name == "nt" else "bin", "python")
"""The project's own, which has no peers: one installs rich, which structlog would import."""
HEALTH = "/health/live"
START_SECONDS = 60.0
STOP_SECONDS = 60.0
MB = 1024 * 1024
SERVICE = "app.main:app"
BARE = "bare:app"


class Server:
    """uvicorn with an application, in a process of its own."""

    def __init__(self, application: str, environment: Mapping[str, str] | None = None) -> None:
        """Choose a port; the server starts when the context is entered."""
        self.application = application
        self.port = _free_port()
        self.start_seconds = 0.0
        path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(HERE)])
        self._environment = {**os.environ, "PYTHONPATH": path, **(environment or {})}
        self._log = Path(f"server-{self.port}.log")

    def __enter__(self) -> Self:
        """Start, and wait for the first answer."""
        began = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [PYTHON, "-m", "uvicorn", self.application, "--port", str(self.port)],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._watched = psutil.Process(self._process.pid)
        while not self._answers():
            if self._process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                self._process.kill()
                text = self._log.read_text(encoding="utf-8", errors="replace")
                msg = f"{self.application} did not start:\n{text}"
                raise RuntimeError(msg)
            time.sleep(0.005)
        self.start_seconds = time.perf_counter() - began
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for requests and tasks that still run."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.unlink()

    @property
    def memory(self) -> float:
        """Memory in use (resident set), that of child processes included, in MB."""
        children = self._watched.children(recursive=True)
        used = 0
        for process in (self._watched, *children):
            with contextlib.suppress(psutil.NoSuchProcess):  # a child may just have ended
                used += process.memory_info().rss
        return used / MB

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far."""
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    def kill(self) -> None:
        """Stop at once, without waiting for requests and tasks."""
        self._process.kill()

    def _answers(self) -> bool:
        request = f"GET {HEALTH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(request.encode())
                return b" 200 " in connection.recv(100)
        except OSError:
            return False


def service_environment(mode: str = "development", **extra: str) -> dict[str, str]:
    """Return the settings of a service under test."""
    settings = {"ENVIRONMENT": mode, "API_KEYS": API_KEY, "SHUTDOWN_DELAY": "0"}
    if mode == "production":
        settings |= {"EMAIL_BACKEND": "smtp", "EMAIL_SMTP_HOST": "localhost"}
    return settings | extra


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
