"""A bound on processor time that only work out of proportion to its input exceeds."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import process_time

SECONDS = 5.0
"""Linear work on 100 kB takes milliseconds, quadratic work takes minutes.

The bound is far from both, so that a slow or busy machine does not matter.
"""


@contextmanager
def costs_little() -> Iterator[None]:
    """Fail if the block takes more than `SECONDS` of processor time."""
    begin = process_time()
    yield
    assert process_time() - begin < SECONDS
