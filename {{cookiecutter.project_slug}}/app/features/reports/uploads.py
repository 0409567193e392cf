"""Where an uploaded file waits for its task: a folder for each report."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from app.files import make_folder, open_private, sync_folder

from .settings import report_settings


def upload_path(report_id: UUID) -> Path:
    """Return the absolute path of a report's file, whether or not there is one."""
    return report_settings().upload_dir.absolute() / f"{report_id}" / "upload.csv"


def keep_upload(source: BinaryIO, report_id: UUID) -> None:
    """Copy a file that would be gone after the request. After a power cut it is still there.

    Raises OSError; a full disk is answered with 503.
    """
    path = upload_path(report_id)
    make_folder(path.parent)
    with open(path, "xb", opener=open_private) as target:
        shutil.copyfileobj(source, target, 1024 * 1024)
        target.flush()
        os.fsync(target.fileno())
    sync_folder(path.parent)


def remove_upload(report_id: UUID) -> None:
    """Remove a report's file, and what was made of it, if it is there."""
    shutil.rmtree(upload_path(report_id).parent, ignore_errors=True)
