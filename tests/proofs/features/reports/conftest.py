"""The fixtures of the example's own tests."""

from tests.features.reports.conftest import analyse, browser, default_settings, finish, upload

__all__ = ["analyse", "browser", "default_settings", "finish", "upload"]
