"""The sign-in of people with a browser, and the files that all pages share (see `app.pages`)."""

from starlette.middleware import Middleware

from app.feature import Feature
from app.settings import Settings

from .router import router
from .session import BrowserMiddleware


def create_feature(settings: Settings) -> Feature:
    """Make the feature. It is public: who signs in has no key yet."""
    browsers = Middleware(BrowserMiddleware, settings=settings)
    return Feature(name="pages", router=router, public=True, middleware=[browsers])
