"""SQLite files."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from .server import DatabaseServer


class SqliteFiles(DatabaseServer):
    """Files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()

    def create(self, template: str = "") -> str:
        """Copy a file, or name one that SQLite makes when it is needed."""
        path = self._folder / f"{next(self._numbers)}.db"
        if template:
            shutil.copy(path_of(template), path)
        return f"sqlite:///{path}"

    def drop(self, url: str) -> None:
        """Leave it to pytest, which keeps the folders of the last runs to look at."""

    def unreachable(self) -> str:
        """Name a folder: it cannot be opened as a file."""
        return f"sqlite:///{self._folder}"


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@contextmanager
def start(_: str, folder: Path) -> Iterator[SqliteFiles]:
    """Need no server."""
    yield SqliteFiles(folder)
