"""Uploaded files: they survive a power cut, and only their owner can read them."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.features.reports.models import Report
from tests.features.reports.conftest import UPLOADS, Analysis, Upload, files

COMMIT = "COMMIT"


@pytest.fixture
def sync_order(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the order in which files and folders are synced and reports committed."""
    order: list[str] = []
    sync = os.fsync

    def record_sync(descriptor: int) -> None:
        assert threading.current_thread() is not threading.main_thread()
        order.append(name(descriptor))
        sync(descriptor)

    def record_commit(session: Session) -> None:
        if any(isinstance(row, Report) for row in session.new):
            order.append(COMMIT)

    monkeypatch.setattr(os, "fsync", record_sync)
    event.listen(Session, "before_commit", record_commit)
    yield order
    event.remove(Session, "before_commit", record_commit)


def name(descriptor: int) -> str:
    opened = os.fstat(descriptor)
    paths = [Path(), *(path for path in Path("data").rglob("*")), Path("data")]
    (path,) = [path for path in paths if os.path.samestat(path.stat(), opened)]
    return {3: "folder", 4: "file"}.get(len(path.parts), str(path))


async def test_accepted_file_is_synced_to_disk_before_the_commit(
    analyse: Analysis, upload: Upload, sync_order: list[str]
) -> None:
    analyse.gate.clear()
    assert (await upload()).status_code == 202
    first_time, per_upload = [".", "data"], [str(UPLOADS), "file", "folder", COMMIT]
    assert sync_order == [*first_time, *per_upload]

    assert (await upload()).status_code == 202
    assert sync_order == [*first_time, *per_upload, *per_upload]
    analyse.gate.set()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("no_umask")
async def test_uploaded_files_are_private_to_their_owner(analyse: Analysis, upload: Upload) -> None:
    analyse.gate.clear()
    await upload()

    (folder,) = files()
    assert [mode(folder), mode(folder / "upload.csv")] == [0o700, 0o600]
    assert [mode(UPLOADS.parent), mode(UPLOADS)] == [0o700, 0o700]
    analyse.gate.set()
