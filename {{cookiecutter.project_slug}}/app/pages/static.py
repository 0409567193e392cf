"""Files of pages: style, script, pictures. They hold nothing secret, so no key is asked for."""

from os import PathLike, stat_result
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

# Python asks the system, which may know them by other names; a browser told not to guess
# (nosniff) would then refuse them.
_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class StaticFolder(StaticFiles):
    """An ASGI application that serves a folder: `router.mount("/static/<feature>", ...)`.

    A browser keeps the files and asks each time whether they are current, which is answered with
    304: a page never meets the style of another version.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)

    def file_response(
        self,
        full_path: str | PathLike[str],
        stat_result: stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Answer with a file, or say that it has not changed."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "no-cache"
        content_type = _CONTENT_TYPES.get(Path(full_path).suffix)
        if content_type and "Content-Type" in response.headers:
            response.headers["Content-Type"] = content_type
        return response
