"""The shop as a process of its own, in the environment that a test gives it."""

from app.feature import load_features
from app.service import create_app
from app.settings import Settings

from .shop import create_shop

settings = Settings()
app = create_app(settings, [*load_features(settings), create_shop()])
