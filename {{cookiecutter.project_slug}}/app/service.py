"""Builds the application out of settings, features and middleware."""

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
    """FastAPI inside our middleware, which sees every answer, FastAPI's own 413 and 500 too."""

    def build_middleware_stack(self) -> ASGIApp:
        """Put our middleware around FastAPI's own, from the inside out."""
        state = self.state
        settings: Settings = state.settings
        features: Sequence[Feature] = state.features
        # Not a dependency, because FastAPI parses the form in a body before it runs dependencies.
        stack: ASGIApp = ApiKeyMiddleware(
            super().build_middleware_stack(),
            keys=state.api_keys,
            allowed_hosts=settings.allowed_hosts,
            routes=[*state.docs, *(route for feature in features for route in feature.routes)],
        )
        for layer in reversed([layer for feature in features for layer in feature.middleware]):
            stack = layer.cls(stack, *layer.args, **layer.kwargs)
        polled = [path for feature in features for path in feature.polled]
        stack = limit_head(stack)
        if settings.cors_origins:
            # Around the checks, so that pages can read errors. No credentials: they send a key.
            stack = CORSMiddleware(
                stack,
                allow_origins=settings.cors_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["Location", "Retry-After", "X-Request-ID"],
            )
        observers = [access_log(fields=settings.in_production, polled=polled)]
        observers += [observer for feature in features for observer in feature.request_observers]
        return RequestMiddleware(stack, hsts=settings.in_production, observers=observers)


def create_app(
    settings: Settings | None = None, features: Sequence[Feature] | None = None
) -> FastAPI:
    """Build the application.

    By default the settings come from the environment, and the features from `app/features`.

    Raises ConfigurationError for invalid settings, and the exception of a feature that cannot be
    loaded.
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
        redirect_slashes=False,  # the redirect would be built from `Host`, which the caller chooses
        responses=problem_responses(),
        generate_unique_id_function=attrgetter("name"),  # for readable names in generated clients
    )
    app.state.settings = settings
    app.state.api_keys = ApiKeys(settings)
    # The API before the pages: routers are tried in turn (/health/live: 110 instead of 131 µs).
    app.state.features = sorted(features, key=_has_pages)
    app.state.links = {path: title for feature in features for path, title in feature.links.items()}
    # So far the app has only its docs routes. Without API keys only this machine may call them.
    app.state.docs = [(route, bool(settings.api_keys)) for route in app.routes]
    add_error_handlers(app)
    for feature in app.state.features:
        if feature.router is not None:
            app.include_router(feature.router, dependencies=feature.dependencies)
    return app


def _has_pages(feature: Feature) -> bool:
    return feature.router is not None and not feature.router.include_in_schema
