"""The session cookie by itself."""

import time

import pytest
from itsdangerous import URLSafeTimedSerializer

from app.features.pages.session import LIFETIME, make_session, read_session

KEYS = ["first", "zweiter-schlüssel"]


@pytest.mark.parametrize("key", ["first", "zweiter-schlüssel"])
def test_it_stands_for_a_known_key(key: str) -> None:
    assert read_session(make_session(key), KEYS)


def test_it_knows_whose_key_that_is() -> None:
    found = read_session(make_session("first", "ann"), KEYS)

    assert found is not None
    assert found.caller == "ann"


def test_it_stands_for_no_other() -> None:
    assert read_session(make_session("third"), KEYS) is None
    assert read_session(make_session("first"), []) is None


def test_every_session_is_another() -> None:
    assert read_session(make_session("first"), KEYS) != read_session(make_session("first"), KEYS)


@pytest.mark.parametrize("part", [0, 1, 2], ids=["id", "time", "signature"])
def test_nothing_of_it_can_be_changed(part: int) -> None:
    parts = make_session("first").split(".")
    parts[part] = ("A" if parts[part][0] != "A" else "B") + parts[part][1:]

    assert read_session(".".join(parts), KEYS) is None


def test_the_key_itself_signs_nothing() -> None:
    forged = str(URLSafeTimedSerializer("first", salt="session cookie").dumps(""))

    assert read_session(forged, KEYS) is None


@pytest.mark.parametrize(
    ("later", "is_valid"), [(0, True), (LIFETIME - 60, True), (LIFETIME + 1, False)]
)
def test_it_ends(monkeypatch: pytest.MonkeyPatch, later: int, is_valid: bool) -> None:
    value = make_session("first")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + later)

    assert (read_session(value, KEYS) is not None) is is_valid
