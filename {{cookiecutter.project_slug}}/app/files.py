"""Files that only this service may read, and that a power cut does not take away."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO


def write_private(path: Path, source: BinaryIO) -> None:
    """Write a new file for this user alone, in a folder that is made for it, onto the disk.

    Raises OSError.
    """
    make_folder(path.parent)
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as target:
        shutil.copyfileobj(source, target, 1024 * 1024)
        target.flush()
        os.fsync(target.fileno())
    _sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder, and the parents that it lacks, for this user alone; they stay after a crash.

    What exists keeps its mode. Raises OSError.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Write to the disk which files `folder` has; without that, a power cut can lose new ones."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
