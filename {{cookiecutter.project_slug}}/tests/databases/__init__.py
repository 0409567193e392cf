"""Databases for tests: a module for each system, and a new database for each test."""
