"""Fixtures of the core's proofs."""

from tests.test_feature import add_feature

__all__ = ["add_feature"]
