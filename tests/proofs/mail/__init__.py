"""Proofs of the notifier. Not called `email`: that is a package of the standard library."""
