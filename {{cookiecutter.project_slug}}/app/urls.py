"""Addresses behind a proxy that strips a prefix (`--root-path`), or mounted in an application."""

from starlette.types import Scope


def root_path(scope: Scope) -> str:
    """Return what every address of the service begins with: "" or such as "/svc"."""
    path: str = scope.get("root_path", "")
    return path.rstrip("/")
