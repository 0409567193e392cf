"""Reads the CI files of a project: the commands of each job, in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

GITHUB = Path(".github/workflows/ci.yml")
GITLAB = Path(".gitlab-ci.yml")

Job = list[str]


def jobs(project: Path) -> dict[str, Job]:
    """Return the commands of every job; nothing for a project without CI."""
    if (project / GITHUB).exists():
        return _github(_read(project / GITHUB))
    return _gitlab(_read(project / GITLAB)) if (project / GITLAB).exists() else {}


def _read(path: Path) -> Mapping[str, Any]:
    parsed: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return parsed


def _github(workflow: Mapping[str, Any]) -> dict[str, Job]:
    return {
        name: [step["run"] for step in job["steps"] if "run" in step]
        for name, job in workflow["jobs"].items()
    }


def _gitlab(pipeline: Mapping[str, Any]) -> dict[str, Job]:
    default = pipeline["default"]
    return {
        name: [*job.get("before_script", default["before_script"]), *job["script"]]
        for name, job in pipeline.items()
        if isinstance(job, dict) and "script" in job
    }
