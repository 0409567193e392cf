"""Workers of the small application: in processes of their own, or in a thread of this one."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from celery import signals
from celery.contrib.testing.worker import start_worker

from app.tasks import TaskSettings
from app.tasks.celery import CelerySettings, make_celery
from app.tasks.celery.worker import Worker, _keep_logging
from tasks.python_path import PYTHONPATH
from waiting import wait_until

from .application import TASKS, open_runner
from .journal import SECONDS, Journal

_INHERITED = ("PATH", "PYTHON", "SYSTEMROOT", "TEMP", "TMP", "VIRTUAL_ENV", "COVERAGE")


class WorkerProcess:
    """`celery worker` in a process of its own."""

    def __init__(
        self,
        folder: Path,
        journal: Journal,
        *,
        target: str = "tasks.celery.process",
        pool: str = "threads",
        concurrency: int = 4,
        **variables: str,
    ) -> None:
        inherited = {n: v for n, v in os.environ.items() if n.startswith(_INHERITED)}
        self._log = folder / f"worker-{pool}-{os.urandom(4).hex()}.log"
        self._journal = journal
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and fixed words
                [sys.executable, "-m", "celery", "-A", target, "worker",
                 "--concurrency", str(concurrency), "--without-heartbeat"],
                cwd=folder,
                env={
                    **inherited, "PYTHONPATH": PYTHONPATH, "PYTHONUNBUFFERED": "1",
                    "PROJECT_DIR": str(folder), "CELERY_POOL": pool,
                    **journal.variables, **variables,
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_until_ready(self) -> Self:
        """Block until the worker receives messages."""
        try:
            self._journal.wait_for("ready", pid=self.pid)
        except AssertionError:
            raise AssertionError(self.output) from None
        return self

    def terminate(self) -> None:
        """Send SIGTERM to the parent, as an orchestrator does."""
        self._process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Send SIGINT to the parent, as Ctrl-C does; its children ignore it."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Send SIGKILL to the worker and its children, as when a machine is lost."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def wait_for_output(self, text: str) -> None:
        """Block until the worker has written `text`."""
        wait_until(lambda: text in self.output)

    def wait_for_exit(self, seconds: float = SECONDS) -> int:
        return self._process.wait(seconds)


@contextmanager
def worker_thread(celery_settings: CelerySettings, database: str, **values: Any) -> Iterator[None]:
    """Run a worker in this process, on Celery's in-memory transport."""
    signals.setup_logging.connect(_keep_logging)  # or Celery would configure the root logger
    settings = TaskSettings(drain_timeout=5, **values)
    celery = make_celery(celery_settings, settings, TASKS)
    celery.conf.broker_transport_options["polling_interval"] = 0.02  # kombu polls once a second

    @asynccontextmanager
    async def open_this() -> Any:
        async with open_runner(settings, celery_settings, url=database) as runner:
            yield runner

    worker = Worker(celery, TASKS, open_this, settings.drain_timeout)
    worker.start()
    try:
        with start_worker(celery, pool="threads", concurrency=4, perform_ping_check=False):
            yield
    finally:
        worker.stop()
        worker.wait_until_stopped(10)
        assert threading.current_thread() is threading.main_thread()
