"""The session cookie by itself."""

from time import time

import pytest
from pydantic import SecretStr

from app.features.pages.session import LIFETIME, find_key, make_session

KEYS = [SecretStr("first"), SecretStr("zweiter-schlüssel")]


@pytest.mark.parametrize("key", ["first", "zweiter-schlüssel"])
def test_it_stands_for_its_key(key: str) -> None:
    assert find_key(make_session(key), KEYS) == key


def test_it_stands_for_no_other() -> None:
    assert find_key(make_session("third"), KEYS) is None
    assert find_key(make_session("first"), []) is None


def test_its_end_cannot_be_moved() -> None:
    ends, _, signature = make_session("first").partition(".")

    assert find_key(f"{int(ends) + 1}.{signature}", KEYS) is None


@pytest.mark.parametrize(("later", "expected"), [(LIFETIME - 60, "first"), (LIFETIME + 1, None)])
def test_it_ends(monkeypatch: pytest.MonkeyPatch, later: int, expected: str | None) -> None:
    value = make_session("first")
    now = time()
    monkeypatch.setattr("app.features.pages.session.time", lambda: now + later)

    assert find_key(value, KEYS) == expected
