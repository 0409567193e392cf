"""Generate projects from the template's files that git knows, without caches and .env files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
PROJECT_FOLDER = "{{cookiecutter.project_slug}}"
# Files only: it tells the hook to create neither a repository nor a lock file.
BARE = {"COOKIECUTTER_BARE": "1"}


def copy_template(destination: Path) -> Path:
    """Copy all files except those that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():  # git still lists a file that was just deleted
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, destination / name)
    return destination


def write_config(folder: Path) -> Path:
    """Write a Cookiecutter configuration to use instead of the developer's own."""
    config = folder / "cookiecutter-config.yaml"
    folders = {name: str(folder / name) for name in ("cookiecutters_dir", "replay_dir")}
    config.write_text(json.dumps(folders), encoding="utf-8")  # JSON is YAML
    return config


def cookiecutter_command(template: Path, output: Path, config: Path, *answers: str) -> list[str]:
    """Return the command that a user would type, with answers as `name=value`."""
    options = ["--no-input", "--config-file", str(config), "--output-dir", str(output)]
    return [sys.executable, "-m", "cookiecutter", *options, str(template), *answers]


def generate(
    template: Path, output: Path, config: Path, answers: Mapping[str, object] | None = None
) -> Path:
    """Generate a project below `output` in this process, files only, and return its folder."""
    os.environ.update(BARE)  # for the hooks, which are separate processes
    project = cookiecutter(
        str(template),
        no_input=True,
        extra_context=dict(answers or {}),
        output_dir=str(output),
        config_file=str(config),
    )
    return Path(project)
