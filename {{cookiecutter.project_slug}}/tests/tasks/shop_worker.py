"""A worker of the shop: `python -m tests.tasks.shop_worker`."""

from app.feature import load_features
from app.settings import Settings
from app.worker import main

from .shop import create_shop

main([*load_features(Settings()), create_shop()])
