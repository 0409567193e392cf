"""The options, read from cookiecutter.json, so that a new option is tested at once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from bake import ROOT

QUESTIONS: dict[str, Any] = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
ASKED = {name: default for name, default in QUESTIONS.items() if not name.startswith("_")}
SWITCHES = [name for name, default in ASKED.items() if isinstance(default, bool)]
CHOICES = {name: default for name, default in ASKED.items() if isinstance(default, list)}

# Every option with its values, the default first.
OPTIONS: dict[str, list[Any]] = {
    name: [default, not default] if name in SWITCHES else default
    for name, default in ASKED.items()
    if name in SWITCHES or name in CHOICES
}

Answers = dict[str, object]


def combinations(options: Mapping[str, list[Any]]) -> list[Answers]:
    """Return every way to answer the questions; the first one has all defaults."""
    values = itertools.product(*options.values())
    return [dict(zip(options, combination, strict=True)) for combination in values]


def flips() -> list[Answers]:
    """Return the defaults with one option changed, for each other value of each option."""
    return [{**DEFAULTS, name: value} for name, values in OPTIONS.items() for value in values[1:]]


def pairs(answers: Answers) -> set[tuple[tuple[str, object], ...]]:
    """Return every pair of these answers."""
    return set(itertools.combinations(answers.items(), 2))


def pairwise(candidates: Iterable[Answers], covered: Iterable[Answers] = ()) -> list[Answers]:
    """Return a few candidates that have, together, all their pairs of answers but the `covered`.

    Greedy: it always takes the candidate with the most missing pairs.
    """
    candidates = list(candidates)
    missing = set().union(*map(pairs, candidates)).difference(*map(pairs, covered))
    selection: list[Answers] = []
    while missing:
        best = max(candidates, key=lambda answers: len(pairs(answers) & missing))
        missing -= pairs(best)
        selection.append(best)
    return selection


def holds(condition: str, answers: Mapping[str, object]) -> bool:
    """Return whether answers meet a condition: `include_metrics`, `ci_provider=github`, `a|b`."""
    given = (alternative.partition("=") for alternative in condition.split("|"))
    return any(answers[name] == (value or True) for name, _, value in given)


def title(answers: Answers) -> str:
    """Return a name for answers, made of those that differ from the defaults."""
    changed = [
        f"no-{name.removeprefix('include_')}" if value is False else f"{name}={value}"
        for name, value in answers.items()
        if value != DEFAULTS[name]
    ]
    return "+".join(changed) or "defaults"


ALL_COMBINATIONS = combinations(OPTIONS)
DEFAULTS = ALL_COMBINATIONS[0]

# The answers with the fewest files and with the most; choices without an order keep their default.
MINIMAL: Answers = {
    name: False if name in SWITCHES else {"ci_provider": "none"}.get(name, values[0])
    for name, values in OPTIONS.items()
}
MAXIMAL: Answers = {
    name: True if name in SWITCHES else values[0 if name in {"license", "ci_provider"} else -1]
    for name, values in OPTIONS.items()
}

# Answers that together have every pair: the extremes, each option changed alone, and a few more
# for the pairs that these lack.
COVER = list(
    map(dict, dict.fromkeys(tuple(a.items()) for a in [DEFAULTS, MINIMAL, MAXIMAL, *flips()]))
)
COVER += pairwise(ALL_COMBINATIONS, COVER)


def every_value(candidates: Iterable[Answers]) -> list[Answers]:
    """Return the candidates with a value that no candidate before them has."""
    seen: set[tuple[str, object]] = set()
    selection = []
    for answers in candidates:
        if not seen.issuperset(answers.items()):
            selection.append(answers)
        seen.update(answers.items())
    return selection


# Every run tests these; `make test-all` tests the whole cover.
EVERY_VALUE = every_value(COVER)
