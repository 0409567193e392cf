"""What the service is called, does and has for a version: what `pyproject.toml` says."""

import tomllib
from pathlib import Path

_TEXT = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
_PROJECT = tomllib.loads(_TEXT)

NAME: str = _PROJECT["tool"]["service"]["name"]
"""As people say it; `Settings.service_name` is this one unless SERVICE_NAME is another."""
DESCRIPTION: str = _PROJECT["project"]["description"]
VERSION: str = _PROJECT["project"]["version"]
