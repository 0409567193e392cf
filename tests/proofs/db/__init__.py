"""Proofs of the database package."""
