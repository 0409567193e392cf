"""SQLite files."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from .server import DatabaseServer


class SqliteFiles(DatabaseServer):
    """Each database is a file in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()

    def create(self, template: str = "") -> str:
        """Copy a file, or return the URL of one that SQLite creates at the first connection."""
        path = self._folder / f"{next(self._numbers)}.db"
        if template:
            shutil.copy(path_of(template), path)
        return f"sqlite:///{path}"

    def drop(self, url: str) -> None:
        """Leave that to pytest, which keeps the folders of the last runs for inspection."""

    def unreachable(self) -> str:
        """Return the URL of a folder, which cannot be opened as a file."""
        return f"sqlite:///{self._folder}"


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@contextmanager
def start(_: str, folder: Path) -> Iterator[SqliteFiles]:
    """Yield a folder of files; there is no server to start."""
    yield SqliteFiles(folder)
