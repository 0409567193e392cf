"""Ends the reports whose task never will, and removes old reports and files that none needs.

A task that is cancelled, or whose process dies of it too often, cannot say so itself.
"""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import delete, or_, select

from app.db import task_session, utc_now
from app.email import send_email
from app.tasks import TaskInfo, TaskObserver, TaskRunner, TaskState
from app.tasks.durable import metadata

from .mail import report_mail
from .models import Report
from .settings import ReportSettings
from .tasks import process_report
from .uploads import remove_upload

logger = structlog.get_logger(__name__)

ABANDONED = "the work was given up; upload again"

_TASKS = metadata.tables["background_tasks"]
_OPEN = (TaskState.QUEUED, TaskState.RUNNING)
_FIRST_LOOK, _INTERVAL = 5.0, 60.0
"""Seconds. A task that ends in this process is looked at when it does."""
_AT_ONCE = 100
"""Reports in one transaction: it must be short, others wait for it."""
_UNCLAIMED = 3600.0
"""Seconds that a file is left alone: its report may be about to be stored."""


class Leftovers(TaskObserver):
    """Looks for leftovers after the start, every minute, and when a task has gone wrong."""

    def __init__(self) -> None:
        self._look = asyncio.Event()

    def failed(self, info: TaskInfo) -> None:
        """See to the report of a task that may not have been able to."""
        if info.name == process_report.name:
            self._look.set()

    timed_out = failed
    cancelled = failed

    @contextlib.asynccontextmanager
    async def seen_to(self, runner: TaskRunner) -> AsyncIterator[None]:
        """Look as long as the block lasts; the runner may be started inside."""
        self._look = asyncio.Event()  # of this event loop: an application may be started twice
        looking = asyncio.create_task(self._run(runner))
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking

    async def _run(self, runner: TaskRunner) -> None:
        pause = _FIRST_LOOK
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._look.wait()
            self._look.clear()
            pause = _INTERVAL
            if runner.accepting:  # or a shutdown has begun, and the next start goes on
                await self._sweep(runner)

    async def _sweep(self, runner: TaskRunner) -> None:
        try:
            while await end_abandoned(runner) == _AT_ONCE:
                pass
            while await delete_expired() == _AT_ONCE:
                pass
            await remove_unneeded_files()
        except Exception:  # there is another time
            logger.exception("the leftovers of reports could not be seen to")


async def end_abandoned(runner: TaskRunner) -> int:
    """Let abandoned reports fail, mail that, and return how many there were."""
    query = (
        select(Report.id)
        .outerjoin(_TASKS, _TASKS.c.id == Report.task_id)
        .where(Report.finished_at.is_(None))
        .where(or_(_TASKS.c.state.is_(None), _TASKS.c.state.not_in(_OPEN)))
        .limit(_AT_ONCE)
    )
    async with task_session(read_only=True) as session:
        found = (await session.scalars(query)).all()
    if not found:
        return 0
    async with task_session() as session:
        # Another process may be at it, too: each row is for the first.
        rows = select(Report).where(Report.id.in_(found)).with_for_update(skip_locked=True)
        ended = [r for r in await session.scalars(rows) if r.finish(error=ABANDONED)]
        for report in ended:
            runner.submit(send_email, report_mail(report))
    for report in ended:
        await remove_upload(report.id)
    return len(ended)


async def delete_expired() -> int:
    """Delete reports that ended longer ago than the retention; return how many there were."""
    before = utc_now() - timedelta(seconds=ReportSettings().retention)
    query = select(Report.id).where(Report.finished_at < before).limit(_AT_ONCE)
    async with task_session(read_only=True) as session:  # most of the time there is none
        expired = (await session.scalars(query)).all()
    if expired:
        async with task_session() as session:
            await session.execute(delete(Report).where(Report.id.in_(expired)))
    return len(expired)


async def remove_unneeded_files() -> None:
    """Remove what crashes have left in the folder of the uploads."""
    old = await asyncio.to_thread(_old_files, ReportSettings().upload_dir)
    if not old:
        return
    async with task_session(read_only=True) as session:
        needed = set(await session.scalars(select(Report.id).where(Report.finished_at.is_(None))))
    for report_id, path in old:
        if report_id not in needed:
            logger.warning("removed a file that no report needs", path=str(path))
            await asyncio.to_thread(_remove, path)


def _old_files(folder: Path) -> list[tuple[UUID, Path]]:
    """Find the folders that are named after a report; others are not ours."""
    newest = time.time() - _UNCLAIMED
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(ValueError, FileNotFoundError):  # a task may just remove it
            if path.stat().st_mtime < newest:
                found.append((UUID(path.name), path))
    return found


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
