"""The prefix of all addresses, behind a proxy that strips it or inside another application."""

from starlette.types import Scope


def root_path(scope: Scope) -> str:
    """Return the prefix of all addresses of the service (`--root-path`), such as "/svc", or ""."""
    path: str = scope.get("root_path", "")
    return path.rstrip("/")
