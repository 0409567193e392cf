"""Ids of tasks: random, or the same for all that are the same."""

import json
import os
from hashlib import sha256
from random import Random

# 128 bits from a generator that the system has seeded: a system call for each costs five times as
# much. An id is no secret. A forked child must not repeat the ids of its parent.
_ids = Random()  # noqa: S311
_random_bits = _ids.getrandbits
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_ids.seed)

TICK = "tick-"
"""The ids of the ticks of periodic tasks begin with it."""


def new_id() -> str:
    """Return an id that no other task of this process has: 32 hexadecimal digits."""
    return _random_bits(128).to_bytes(16).hex()


def id_of(name: str, key: str) -> str:
    """Return the id that a name and a key have in every process: 32 hexadecimal digits."""
    return sha256(json.dumps([name, key]).encode()).hexdigest()[:32]
