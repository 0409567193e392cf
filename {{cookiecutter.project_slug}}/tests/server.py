"""The service in a process of its own, with real sockets, signals, output and exit codes."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx2

PROJECT = Path(__file__).parents[1]
SECONDS = 30.0
"""The longest wait for any event; a passing test waits far less."""
_INHERITED = ("PATH", "PYTHON", "SYSTEMROOT", "TEMP", "TMP", "VIRTUAL_ENV")


class PythonProcess:
    """Runs `python -m` with some arguments in a folder.

    The process gets the variables that are passed, and none of the developer's settings.
    """

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        inherited = {n: v for n, v in os.environ.items() if n.startswith(_INHERITED)}
        path = os.pathsep.join([str(PROJECT), str(folder)])
        required = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PROJECT_DIR": str(folder)}
        required["TASKS_PERIODIC"] = "false"  # as in `conftest.TEST`
        required["PYTHONDONTWRITEBYTECODE"] = ""  # else each process compiles all libraries
        self.output: list[str] = []
        self._port = 0
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, fixed arguments
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env={**inherited, **required, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,  # a process group, which includes its workers
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.wait_for_exit()

    def wait_for_line(self, text: str) -> str:
        """Return the next line of output that contains `text`."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                msg = f"no line with {text!r} in:\n{''.join(self.output)}"
                raise AssertionError(msg) from None
            if text in line:
                return line

    @property
    def url(self) -> str:
        """The URL at which the process listens; waits until it does."""
        if not self._port:
            match = re.search(
                r"running on http://127.0.0.1:(\d+)", self.wait_for_line("running on")
            )
            assert match is not None
            self._port = int(match[1])
        return f"http://127.0.0.1:{self._port}"

    def get(self, path: str, key: str = "") -> httpx2.Response:
        return httpx2.get(self.url + path, headers={"X-API-Key": key}, timeout=SECONDS)

    def post(self, path: str) -> httpx2.Response:
        return httpx2.post(self.url + path, timeout=SECONDS)

    def terminate(self) -> None:
        """Send SIGTERM, as an orchestrator does."""
        self._process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Send SIGKILL, as the kernel does when memory is short."""
        self._process.kill()

    def say(self, line: str) -> None:
        """Write a line to the process's standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def wait_for_exit(self) -> int:
        """Wait for the end and return the exit code; `output` is complete then."""
        code = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        return code

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line)
            self._lines.put(line)


class ServerProcess(PythonProcess):
    """Runs uvicorn with one application on a free port."""

    def __init__(self, folder: Path, target: str = "app.main:app", **variables: str) -> None:
        super().__init__(folder, "uvicorn", target, "--port", "0", **variables)
