"""The default service has the size that the README states, and stays within its budgets."""

from __future__ import annotations

from pathlib import Path

import budgets
import pytest

from tests.conftest import Make
from tests.options import DEFAULTS


def test_the_readme_has_every_figure() -> None:
    assert [name for name in budgets.shown() if name in budgets.BUDGETS] == list(budgets.BUDGETS)


@pytest.mark.parametrize("name", budgets.FILES)
def test_files_are_within_their_budget_or_no_more_than_before(bake: Make, name: str) -> None:
    assert budgets.complaint(name, bake(**DEFAULTS)) == ""


def test_a_figure_that_has_grown_is_reported(bake: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    name, budget = next(iter(budgets.FILES.items()))
    project = bake(**DEFAULTS)
    grown = budget.measure(project) - 1
    monkeypatch.setattr(budgets, "shown", lambda: {name: grown})
    monkeypatch.setitem(budgets.BUDGETS, name, budgets.Budget(grown, budget.step, budget.measure))
    assert "more than" in budgets.complaint(name, project)


def test_the_figures_are_written_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(budgets.README.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(budgets, "README", readme)
    budgets.write(dict.fromkeys(budgets.BUDGETS, 1_234))
    assert budgets.shown() == dict.fromkeys(budgets.shown(), 1_234)
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[1] for row in rows] == ["1,234"] * len(budgets.BUDGETS)
