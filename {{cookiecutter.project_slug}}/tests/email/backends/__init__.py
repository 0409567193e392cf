"""Tests of the backends, one file each."""
