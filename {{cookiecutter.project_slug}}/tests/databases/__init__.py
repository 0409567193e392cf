"""Databases for tests: a file for each kind, and a new database for each test that wants one."""
