"""Files of pages: style, script, pictures. They hold nothing secret, so no key is asked for."""

import mimetypes
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

# Python asks the system, which may know them by other names; a browser told not to guess
# (nosniff) would then refuse them.
mimetypes.add_type("text/css", ".css")
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("image/svg+xml", ".svg")


class StaticFolder(StaticFiles):
    """An application that serves a folder: `router.mount("/static/<feature>", StaticFolder(...))`.

    A browser keeps the files and asks each time whether they are current, which is answered with
    304: a page never meets the style of another version.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Answer with a file, or say that it has not changed."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response
