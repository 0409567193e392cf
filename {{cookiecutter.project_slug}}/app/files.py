"""Writes files that only the user of the service can read, and that survive a power cut."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO


def write_private(path: Path, source: BinaryIO) -> None:
    """Write a new file for this user alone, and flush it to the disk; create its folder if needed.

    Raises OSError.
    """
    make_folder(path.parent)
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as target:
        shutil.copyfileobj(source, target, 1024 * 1024)
        target.flush()
        os.fsync(target.fileno())
    _sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, for this user alone, and flush them to the disk.

    Existing folders keep their mode. Raises OSError.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Flush the entries of `folder` to the disk; otherwise a power cut can lose new files."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
