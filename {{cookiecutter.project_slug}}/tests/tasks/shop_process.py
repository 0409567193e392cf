"""The shop in a process of its own: served by uvicorn, or run by `python -m` as a worker."""

from app.feature import load_features
from app.service import create_app
from app.settings import Settings
from app.worker import main

from .shop import create_shop

settings = Settings()
features = [*load_features(settings), create_shop()]

if __name__ == "__main__":
    main(features)
else:
    app = create_app(settings, features)
