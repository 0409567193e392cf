"""Files that only this service may read, and that a power cut does not take away."""

import os
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a folder, and the parents that it lacks, for this user alone; they stay after a crash.

    What exists keeps its mode. Raises OSError.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def open_private(path: str, flags: int) -> int:
    """Open a file that is made for this user alone: an `opener` for `open`. Raises OSError."""
    return os.open(path, flags, 0o600)


def sync_folder(folder: Path) -> None:
    """Write to the disk which files `folder` has; without that, a power cut can lose new ones."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
