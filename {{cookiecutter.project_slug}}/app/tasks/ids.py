"""Ids of tasks: random, or the same for all that are the same."""

import json
import os
from hashlib import sha256

TICK = "tick-"
"""The ids of the ticks of periodic tasks begin with it."""


def new_id() -> str:
    """Return an id that no other task has: 32 hexadecimal digits."""
    return os.urandom(16).hex()  # of the system: cloned machines and forked children differ


def id_of(name: str, key: str) -> str:
    """Return the id that a name and a key have in every process: 32 hexadecimal digits."""
    return sha256(json.dumps([name, key]).encode()).hexdigest()[:32]
