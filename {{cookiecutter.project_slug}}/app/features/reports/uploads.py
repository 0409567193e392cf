"""Where an uploaded file waits for its task."""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import structlog
from fastapi import UploadFile
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from app.errors import ServiceUnavailable
from app.files import make_folder, open_private, sync_folder

from .settings import ReportSettings

logger = structlog.get_logger(__name__)

_CHUNK = 1024 * 1024


def upload_path(report_id: UUID) -> Path:
    """Return the absolute path of a report's file, whether or not there is one."""
    return ReportSettings().upload_dir.absolute() / f"{report_id}.csv"


async def keep_upload(upload: UploadFile, report_id: UUID, session: AsyncSession) -> None:
    """Copy a file that would be gone after the request. After a power cut it is still there.

    The copy belongs to the session's transaction: it is removed if that does not commit. A commit
    without an answer counts as failed, and that is what the caller is told.

    Raises ServiceUnavailable when there is no room for more files that wait, and OSError.
    """
    path = upload_path(report_id)
    transaction = session.sync_session.get_transaction()

    def remove(_: Session, ended: SessionTransaction) -> None:
        if ended is transaction:  # and not a savepoint in it, or what comes after the commit
            path.unlink(missing_ok=True)

    event.listen(session.sync_session, "after_soft_rollback", remove)
    await asyncio.to_thread(_copy, upload.file, upload.size or 0, path)


async def remove_upload(report_id: UUID) -> None:
    """Remove a report's file if it is there."""
    await asyncio.to_thread(upload_path(report_id).unlink, missing_ok=True)


def _copy(source: BinaryIO, size: int, path: Path) -> None:
    make_folder(path.parent)
    with open(path, "xb", opener=open_private) as target:
        # Its full size at once: requests at the same time count it, in other processes too.
        target.truncate(size)
        _check_room(path.parent)
        shutil.copyfileobj(source, target, _CHUNK)
        target.flush()
        os.fsync(target.fileno())
    sync_folder(path.parent)


def _check_room(folder: Path) -> None:
    limit = ReportSettings().max_stored_bytes
    with os.scandir(folder) as entries:  # less than half the time of `Path.glob`
        stored = sum(_size(entry) for entry in entries if entry.name.endswith(".csv"))
    if stored > limit:
        logger.warning("no room for an upload", folder=str(folder), bytes=stored, limit=int(limit))
        msg = "too many uploads wait to be processed"
        raise ServiceUnavailable(msg)


def _size(entry: os.DirEntry[str]) -> int:
    with contextlib.suppress(FileNotFoundError):  # a task may just have removed it
        return entry.stat().st_size
    return 0
