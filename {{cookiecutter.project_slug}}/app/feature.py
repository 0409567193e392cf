"""What a feature is, and how the features of the service are found."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from app import features
from app.settings import Settings
from app.tasks import Task, TaskObserver, TaskRunner


@dataclass(frozen=True, kw_only=True)
class Feature:
    """Everything that a package under `app/features` adds to the service."""

    name: str
    router: APIRouter | None = None
    public: bool = False
    """Whether its routes answer without an API key."""
    tasks: Sequence[Task[Any, Any]] = ()
    """Its tasks. Logs, metrics and settings know them by name, so names are unique."""
    middleware: Sequence[Middleware] = ()
    outermost: Sequence[Middleware] = ()
    """Around everything: it sees the server's own 413 and 500, too."""
    observers: Sequence[TaskObserver] = ()
    engine: Callable[..., TaskRunner] | None = None
    """Takes the place of `TaskRunner`, to run tasks elsewhere than in this process."""
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None
    """Entered before the first request, when database, mail and runner are there."""


def load_features(settings: Settings) -> list[Feature]:
    """Make every feature found under `app/features`, in the order of their names.

    A package that cannot be imported, or that has no `create_feature`, stops the start: a service
    that quietly lacks a part is worse than one that does not run.
    """
    names = sorted(module.name for module in iter_modules(features.__path__))
    modules = [import_module(f"{features.__name__}.{name}") for name in names]
    return [module.create_feature(settings) for module in modules]
