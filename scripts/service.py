"""Install a generated service, run it on a free port, and send requests to it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

START_SECONDS = 60.0
STOP_SECONDS = 30.0

T = TypeVar("T")

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens addresses on this machine, without any proxy that the environment names."""


class ServiceError(Exception):
    """The service failed; the message says how, and shows the end of its log."""


def child_environment(**extra: str) -> dict[str, str]:
    """Return the environment for a process of another project, without this one's variables."""
    own = {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "PYTEST_ADDOPTS"}
    inherited = {name: value for name, value in os.environ.items() if name not in own}
    return {**inherited, "UV_PYTHON": sys.executable, **extra}


def uv(*arguments: str, project: Path) -> None:
    """Run uv in a project and show its output; raises CalledProcessError if it fails."""
    command = [os.environ.get("UV", "uv"), *arguments]
    subprocess.run(command, cwd=project, env=child_environment(), check=True)


def python_of(project: Path) -> Path:
    """Return the interpreter of the project's own virtual environment."""
    windows = project / ".venv" / "Scripts" / "python.exe"
    return windows if windows.exists() else project / ".venv" / "bin" / "python"


def settings_of(project: Path) -> set[str]:
    """Return the names of the variables that a service reads, according to its .env.example."""
    example = (project / ".env.example").read_text(encoding="utf-8")
    return set(re.findall(r"(?m)^(\w+)=", example))


def free_port() -> int:
    """Return a port on which nothing listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(probe: Callable[[], T | None], seconds: float) -> T | None:
    """Call `probe` until it returns a value; return None after `seconds`."""
    deadline = time.monotonic() + seconds
    while (answer := probe()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


@contextmanager
def database_server(project: Path) -> Iterator[dict[str, str]]:
    """Give the variables of a database; start a server for it if the project needs one."""
    if not (project / "tests" / "databases" / "cluster.py").exists():
        yield {}
        return
    command = [str(python_of(project)), "-m", "tests.databases.cluster", "0"]
    with subprocess.Popen(
        command, cwd=project, env=child_environment(), stdout=subprocess.PIPE, encoding="utf-8"
    ) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            name, _, value = line.strip().partition("=")
            yield {name: value}
        finally:
            server.terminate()


class Service:
    """A running service: `with Service(project) as service: service.get("/health/live")`."""

    def __init__(self, project: Path, environment: Mapping[str, str] | None = None) -> None:
        """Choose a port; the service starts when the context is entered."""
        self.project = project
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log_file = project / "data" / "service.log"
        self.key = ""  # an API key, needed if the environment sets API_KEYS
        settings = settings_of(project)
        self._environment = {
            **{name: value for name, value in child_environment().items() if name not in settings},
            "REPORTS_PUBLIC_URL": self.url,  # for the links in mails
            **(environment or {}),
        }

    def __enter__(self) -> Self:
        """Start uvicorn and wait until the service is ready."""
        self.log_file.parent.mkdir(exist_ok=True)
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [python_of(self.project), "-m", "uvicorn", "app.main:app", "--port", self.port],
                cwd=self.project,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only the script, which stops the service
            )
        try:
            if not wait_for(self._is_ready, START_SECONDS):
                raise self.error(f"The service was not ready after {START_SECONDS:.0f} seconds.")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the service, whatever happened."""
        self.stop()

    @property
    def port(self) -> str:
        """The port, as text for the command line."""
        return self.url.rpartition(":")[2]

    def get(self, path: str) -> Any:
        """Return the JSON at a path; raises ServiceError for an error response."""
        return self.send(urllib.request.Request(self.url + path))  # noqa: S310 - our own URL

    def text(self, path: str) -> str:
        """Return the text at a path; raises ServiceError for an error response."""
        return self._send(urllib.request.Request(self.url + path)).decode()  # noqa: S310 - our own URL

    def send(self, request: urllib.request.Request) -> Any:
        """Send a request and return the JSON of the response; raises ServiceError for an error."""
        return json.loads(self._send(request))

    def _send(self, request: urllib.request.Request) -> bytes:
        if self.key:
            request.add_header("X-API-Key", self.key)
        try:
            with direct.open(request, timeout=30) as response:
                body: bytes = response.read()
                return body
        except urllib.error.HTTPError as error:
            answer = error.read().decode(errors="replace")
            message = f"{request.get_method()} {request.full_url}: {error.code} {answer}"
            raise self.error(message) from error
        except OSError as error:
            message = f"{request.get_method()} {request.full_url}: {error}"
            raise self.error(message) from error

    def stop(self) -> int:
        """Terminate the service, kill it if it does not end, and return its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def error(self, message: str) -> ServiceError:
        """Return an error with the end of the service's log."""
        log = self.log_file.read_text(encoding="utf-8", errors="replace")
        last_lines = "\n".join(log.splitlines()[-40:])
        return ServiceError(f"{message}\n--- {self.log_file} ---\n{last_lines}")

    def _is_ready(self) -> bool | None:
        if self.process.poll() is not None:
            raise self.error(f"The service ended with exit code {self.process.returncode}.")
        try:
            with direct.open(f"{self.url}/health/ready", timeout=5):
                return True
        except OSError:
            return None
