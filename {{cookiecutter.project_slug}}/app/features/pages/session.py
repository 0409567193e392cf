"""The session cookie: it stands for an API key and is not the key.

It holds the moment at which it ends and a keyed hash of that moment, so that nothing is stored on
the server, and a key that is taken out of `API_KEYS` takes its sessions along.
"""

import hmac
from collections.abc import Sequence
from time import time

from pydantic import SecretStr

COOKIE = "session"
LIFETIME = 12 * 3600
"""Seconds."""


def make_session(key: str) -> str:
    """Return the value of a cookie that stands for `key` from now on."""
    ends = str(int(time()) + LIFETIME)
    return f"{ends}.{_sign(key, ends)}"


def find_key(session: str, keys: Sequence[SecretStr]) -> str | None:
    """Return the key that a cookie stands for; None if it has ended or is not one of ours."""
    ends, _, signature = session.partition(".")
    found = None
    for key in keys:  # all of them, so that the time does not tell which one it is
        value = key.get_secret_value()
        if hmac.compare_digest(_sign(value, ends).encode(), signature.encode()):
            found = value
    return found if found is not None and int(ends) > time() else None


def _sign(key: str, ends: str) -> str:
    return hmac.digest(key.encode(), b"session until " + ends.encode(), "sha256").hex()
