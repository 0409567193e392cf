"""Defines what a feature is, and loads the features of the service."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount

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
    """Whether its routes need no API key."""
    auth: Callable[..., Any] | None = None
    """A dependency that authenticates callers, instead of an API key. Like every dependency, it
    runs after the body has been read. FastAPI runs none for mounts and for Starlette's own routes,
    so these still need a key, as does a router that includes one."""
    tasks: Sequence[Task[Any, Any]] = ()
    """Its tasks. Logs, metrics and settings refer to them by name, so names must be unique."""
    polled: Sequence[str] = ()
    """Paths of routes that are requested all the time, by probes for example. They are logged at
    DEBUG, unless the answer is an error."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Its links in the navigation at the top of every page: titles by path."""
    middleware: Sequence[Middleware] = ()
    """ASGI middleware around the whole service. It sees requests before their API key is checked,
    and every answer, 413 and 500 included."""
    observers: Sequence[TaskObserver] = ()
    request_observers: Sequence[Callable[[Answered], None]] = ()
    """Called after every request, whatever the answer was."""
    engine: Callable[..., TaskRunner] | None = None
    """Replaces `TaskRunner`, to run tasks outside this process."""
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None
    """Entered before the first request, when database, mail sender and task runner exist."""

    @property
    def routes(self) -> list[tuple[BaseRoute, bool]]:
        """Its routes, each with whether it is public, as a `StaticFolder` always is."""
        routes = self.router.routes if self.router else []
        return [(route, self._needs_no_key(route)) for route in routes]

    @property
    def dependencies(self) -> list[Any]:
        """The dependencies of its routes: `auth`, or the key schemes that the API docs show."""
        if self.auth is not None:
            return [Depends(self.auth)]
        return [] if self.public else [Depends(scheme) for scheme in API_KEY_SCHEMES]

    def _needs_no_key(self, route: BaseRoute) -> bool:
        is_authenticated = self.auth is not None and _runs_dependencies(route)
        return self.public or is_authenticated or _is_public_mount(route)


def _runs_dependencies(route: BaseRoute) -> bool:
    """Return whether FastAPI runs dependencies for a route, or for every route of a router.

    It runs none for mounts and for Starlette's own routes.
    """
    routes = [context.original_route for context in iter_route_contexts([route])]
    return all(isinstance(each, APIRoute | APIWebSocketRoute) for each in routes)


def _is_public_mount(route: BaseRoute) -> bool:
    # An attribute, since a service without pages has no `StaticFolder`. Not every `StaticFiles`:
    # its files may be private.
    return isinstance(route, Mount) and getattr(route.app, "is_public", False) is True


def load_features(settings: Settings) -> list[Feature]:
    """Create every feature under `app/features`, ordered by name.

    A package that cannot be imported, or has no `create_feature`, stops the start: a service that
    silently lacks a feature is worse than one that does not run.
    """
    return [module.create_feature(settings) for module in features.import_features()]
