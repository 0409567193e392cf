"""What all pages share: their style, and the sign-in of people with an API key.

- `session.py` the cookie that stands for a key, `middleware.py` what is done for browsers
- `router.py` `/sign-in`, `/sign-out` and the files of `app.pages`
"""

from starlette.middleware import Middleware

from app.feature import Feature
from app.settings import Settings

from .middleware import BrowserMiddleware
from .router import make_router


def create_feature(settings: Settings) -> Feature:
    """Make the feature. It is public: who signs in has no key yet."""
    return Feature(
        name="pages",
        router=make_router(settings),
        public=True,
        middleware=[Middleware(BrowserMiddleware, settings=settings)],
    )
