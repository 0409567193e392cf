"""The value of the session cookie: how it is made and checked."""

import time

import pytest
from itsdangerous import URLSafeTimedSerializer

from app.features.pages.session import LIFETIME, make_session, read_session

KEYS = ["first", "zweiter-schlüssel"]


@pytest.mark.parametrize("key", ["first", "zweiter-schlüssel"])
def test_session_of_a_known_key_is_valid(key: str) -> None:
    assert read_session(make_session(key), KEYS)


def test_session_has_the_caller_of_its_key() -> None:
    session = read_session(make_session("first", "ann"), KEYS)

    assert session is not None
    assert session.caller == "ann"


def test_session_of_an_unknown_key_is_invalid() -> None:
    assert read_session(make_session("third"), KEYS) is None
    assert read_session(make_session("first"), []) is None


def test_every_session_is_unique() -> None:
    assert read_session(make_session("first"), KEYS) != read_session(make_session("first"), KEYS)


@pytest.mark.parametrize("part", [0, 1, 2], ids=["id", "time", "signature"])
def test_changed_session_is_invalid(part: int) -> None:
    parts = make_session("first").split(".")
    parts[part] = ("A" if parts[part][0] != "A" else "B") + parts[part][1:]

    assert read_session(".".join(parts), KEYS) is None


def test_session_signed_with_the_key_itself_is_invalid() -> None:
    forged = str(URLSafeTimedSerializer("first", salt="session cookie").dumps(""))

    assert read_session(forged, KEYS) is None


@pytest.mark.parametrize(
    ("later", "is_valid"), [(0, True), (LIFETIME - 60, True), (LIFETIME + 1, False)]
)
def test_session_expires_after_its_lifetime(
    monkeypatch: pytest.MonkeyPatch, later: int, is_valid: bool
) -> None:
    value = make_session("first")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + later)

    assert (read_session(value, KEYS) is not None) is is_valid
