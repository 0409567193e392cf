"""Where an uploaded file waits for its task."""

import asyncio
import shutil
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from fastapi import UploadFile
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from .settings import ReportSettings

_CHUNK = 1024 * 1024


def upload_path(report_id: UUID) -> Path:
    """Return the absolute path of a report's file, whether or not there is one."""
    return ReportSettings().upload_dir.absolute() / f"{report_id}.csv"


async def keep_upload(upload: UploadFile, report_id: UUID, session: AsyncSession) -> None:
    """Copy a file that would be gone after the request; raises OSError.

    The copy belongs to the session's transaction: it is removed if that does not commit.
    """
    path = upload_path(report_id)

    def remove(*_: object) -> None:
        path.unlink(missing_ok=True)

    event.listen(session.sync_session, "after_soft_rollback", remove)
    await asyncio.to_thread(_copy, upload.file, path)


async def remove_upload(report_id: UUID) -> None:
    """Remove a report's file if it is there."""
    await asyncio.to_thread(upload_path(report_id).unlink, missing_ok=True)


def _copy(source: BinaryIO, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as target:
        shutil.copyfileobj(source, target, _CHUNK)
