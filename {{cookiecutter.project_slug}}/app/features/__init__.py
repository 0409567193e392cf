"""The features: one package each, found by `app.feature.load_features`.

A package offers `create_feature(settings) -> Feature`. It may use the platform (`app.db`,
`app.tasks`, `app.mail`, ...) and never another feature; to remove it, delete its folder and its
tests, and let a new migration drop its tables. `scaffold/` has a feature to start from.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


def import_features() -> list[ModuleType]:
    """Import every feature, ordered by name."""
    names = sorted(module.name for module in iter_modules(__path__))
    return [import_module(f"{__name__}.{name}") for name in names]
