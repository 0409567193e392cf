"""What a feature is, and how the features of the service are found."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from app import features
from app.middleware import Answered
from app.security import API_KEY_SCHEMES
from app.settings import Settings
from app.tasks import Task, TaskObserver, TaskRunner


@dataclass(frozen=True, kw_only=True)
class Feature:
    """Everything that a package under `app/features` adds to the service."""

    name: str
    router: APIRouter | None = None
    public: bool = False
    """Whether its routes answer anybody, without an API key."""
    auth: Callable[..., Any] | None = None
    """A dependency of its own that lets callers in, instead of an API key. As every dependency,
    it runs when the body has been read."""
    tasks: Sequence[Task[Any, Any]] = ()
    """Its tasks. Logs, metrics and settings know them by name, so names are unique."""
    polled: Sequence[str] = ()
    """Paths of its routes that are asked all the time: the log has them at DEBUG only, or when the
    answer is an error."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Titles, by path, of those of its pages that every page links to at its top."""
    middleware: Sequence[Middleware] = ()
    """ASGI layers around the whole service. They see a request before a key is asked for, and every
    answer, such as 413 and 500."""
    observers: Sequence[TaskObserver] = ()
    request_observers: Sequence[Callable[[Answered], None]] = ()
    """Called with every request when it has been answered, whatever the answer was."""
    engine: Callable[..., TaskRunner] | None = None
    """Used instead of `TaskRunner`, to run tasks elsewhere than in this process."""
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None
    """Entered before the first request, when database, mail and runner are there."""

    @property
    def routes(self) -> list[tuple[BaseRoute, bool]]:
        """Its routes, each with whether it needs no key: those of a public one, and files."""
        routes = self.router.routes if self.router else []
        asks_for_key = not self.public and self.auth is None
        return [(route, not asks_for_key or _serves_files(route)) for route in routes]

    @property
    def dependencies(self) -> list[Any]:
        """What its routes depend on: its `auth`, or what tells the API docs of the keys."""
        if self.auth is not None:
            return [Depends(self.auth)]
        return [] if self.public else [Depends(scheme) for scheme in API_KEY_SCHEMES]


def _serves_files(route: BaseRoute) -> bool:
    return isinstance(route, Mount) and isinstance(route.app, StaticFiles)


def load_features(settings: Settings) -> list[Feature]:
    """Make every feature found under `app/features`, in the order of their names.

    A package that cannot be imported, or that has no `create_feature`, stops the start: a service
    that quietly lacks a part is worse than one that does not run.
    """
    return [module.create_feature(settings) for module in features.import_features()]
