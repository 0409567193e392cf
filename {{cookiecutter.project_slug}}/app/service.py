"""Puts the service together."""

from collections.abc import Sequence
from operator import attrgetter

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from app.errors import MAX_BODY_BYTES, add_error_handlers, problem_responses
from app.feature import Feature, load_features
from app.lifespan import Lifespan
from app.logs import configure_logging
from app.middleware import RequestMiddleware, access_log, limit_head
from app.security import ApiKeyMiddleware, ApiKeys
from app.settings import DESCRIPTION, NAME, VERSION, Settings, read


class Service(FastAPI):
    """FastAPI inside of our layers, which see all answers, its own 413 and 500 included."""

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap what FastAPI builds."""
        state = self.state
        settings: Settings = state.settings
        # Before anything of a body is read: FastAPI parses forms before it asks dependencies.
        stack: ASGIApp = ApiKeyMiddleware(
            super().build_middleware_stack(),
            keys=state.api_keys,
            allowed_hosts=settings.allowed_hosts,
            routes=[*state.docs, *(route for one in state.features for route in one.routes)],
        )
        for layer in reversed([layer for one in state.features for layer in one.middleware]):
            stack = layer.cls(stack, *layer.args, **layer.kwargs)
        polled = [path for one in state.features for path in one.polled]
        stack = limit_head(stack)
        if settings.cors_origins:
            # Pages of these may call, and read errors too. They send a key: no cookie counts.
            stack = CORSMiddleware(
                stack,
                allow_origins=settings.cors_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["Location", "Retry-After", "X-Request-ID"],
            )
        observers = [access_log(fields=settings.in_production, polled=polled)]
        observers += [observer for one in state.features for observer in one.request_observers]
        return RequestMiddleware(stack, hsts=settings.in_production, observers=observers)


def create_app(
    settings: Settings | None = None, features: Sequence[Feature] | None = None
) -> FastAPI:
    """Make the service.

    Unless given, the settings are read from the environment, and the features are those under
    `app/features`.

    Raises ConfigurationError when they are not valid, and whatever is raised by a feature that
    cannot be loaded.
    """
    settings = settings or read(Settings)
    configure_logging(settings.log_level, json=settings.in_production)
    features = load_features(settings) if features is None else features
    app = Service(
        title=NAME,
        description=DESCRIPTION,
        version=VERSION,
        openapi_url=None if settings.in_production else "/openapi.json",
        lifespan=Lifespan(settings, features).run,
        docs_url=None,
        redoc_url=None,
        max_body_size=MAX_BODY_BYTES,
        form_limits={"max_fields": 100, "max_files": 10, "max_part_size": MAX_BODY_BYTES},
        redirect_slashes=False,  # the redirect would be built from `Host`, which anybody can choose
        responses=problem_responses(),
        generate_unique_id_function=attrgetter("name"),  # which reads well in generated clients
    )
    app.state.settings = settings
    app.state.api_keys = ApiKeys(settings)
    # The API before the pages: routers are asked in turn (/health/live 110 instead of 131 µs).
    app.state.features = sorted(features, key=_has_pages)
    app.state.links = {path: title for one in features for path, title in one.links.items()}
    # So far it has only these routes. Without keys they are, as all others, for this machine only.
    app.state.docs = [(route, bool(settings.api_keys)) for route in app.routes]
    add_error_handlers(app)
    for feature in app.state.features:
        if feature.router is not None:
            app.include_router(feature.router, dependencies=feature.dependencies)
    return app


def _has_pages(feature: Feature) -> bool:
    return feature.router is not None and not feature.router.include_in_schema
