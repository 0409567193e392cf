"""The sign-in, and the files that all pages share: everything is in `app.pages`."""

from app.pages.sign_in import create_feature

__all__ = ["create_feature"]
