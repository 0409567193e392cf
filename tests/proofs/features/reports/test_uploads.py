"""Files that wait: there after a power cut, and for nobody else to read."""

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
def synced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Give what was synced, by name, and when a report was about to be committed."""
    order: list[str] = []
    sync = os.fsync

    def remember(descriptor: int) -> None:
        assert threading.current_thread() is not threading.main_thread()
        order.append(name(descriptor))
        sync(descriptor)

    def commit(session: Session) -> None:
        if any(isinstance(row, Report) for row in session.new):
            order.append(COMMIT)

    monkeypatch.setattr(os, "fsync", remember)
    event.listen(Session, "before_commit", commit)
    yield order
    event.remove(Session, "before_commit", commit)


def name(descriptor: int) -> str:
    opened = os.fstat(descriptor)
    paths = [Path(), *(path for path in Path("data").rglob("*")), Path("data")]
    (path,) = [path for path in paths if os.path.samestat(path.stat(), opened)]
    return {3: "folder", 4: "file"}.get(len(path.parts), str(path))


async def test_what_was_accepted_is_on_the_disk_before_the_commit(
    analyse: Analysis, upload: Upload, synced: list[str]
) -> None:
    analyse.gate.clear()
    assert (await upload()).status_code == 202
    made, again = [".", "data"], [str(UPLOADS), "file", "folder", COMMIT]
    assert synced == [*made, *again]

    assert (await upload()).status_code == 202
    assert synced == [*made, *again, *again]
    analyse.gate.set()


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("no_umask")
async def test_nobody_else_may_read_a_file(analyse: Analysis, upload: Upload) -> None:
    analyse.gate.clear()
    await upload()

    (folder,) = files()
    assert [mode(folder), mode(folder / "upload.csv")] == [0o700, 0o600]
    assert [mode(UPLOADS.parent), mode(UPLOADS)] == [0o700, 0o700]
    analyse.gate.set()
