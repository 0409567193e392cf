"""What can be chosen, read from cookiecutter.json, so that a new option is tested at once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest
from bake import ROOT

QUESTIONS: dict[str, Any] = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
ASKED = {name: default for name, default in QUESTIONS.items() if not name.startswith("_")}
SWITCHES = [name for name, default in ASKED.items() if isinstance(default, bool)]
CHOICES = {name: default for name, default in ASKED.items() if isinstance(default, list)}

Answers = dict[str, object]


def combinations(names: dict[str, list[Any]]) -> list[Answers]:
    """Return every way to answer the questions; the first one has all defaults."""
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*names.values())]


SWITCH_COMBINATIONS = combinations({name: [True, False] for name in SWITCHES})
ALL_COMBINATIONS = combinations({**{name: [True, False] for name in SWITCHES}, **CHOICES})


def holds(condition: str, answers: Mapping[str, object]) -> bool:
    """Say whether `include_metrics` or `database=sqlite` is what was answered."""
    name, _, value = condition.partition("=")
    return answers[name] == (value or True)


def title(answers: Answers) -> str:
    """Name a set of answers by what differs from the defaults."""
    changed = [
        f"no-{name.removeprefix('include_')}" if value is False else str(value)
        for name, value in answers.items()
        if value is False or (name in CHOICES and value != CHOICES[name][0])
    ]
    return "+".join(changed) or "defaults"


def cases(combinations: list[Answers], *marks: pytest.MarkDecorator) -> list[Any]:
    """Return combinations as parameters; one worker has all tests of one, to make it only once."""
    return [
        pytest.param(answers, id=name, marks=[pytest.mark.xdist_group(name), *marks])
        for answers in combinations
        for name in [title(answers)]
    ]
