"""Puts the service together. `app` is what the server runs."""

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from app.errors import MAX_BODY_BYTES, ErrorMiddleware, add_error_handlers, problem_responses
from app.feature import Feature, load_features
from app.lifespan import Lifespan
from app.request_head import RequestHeadMiddleware
from app.request_id import RequestIdMiddleware
from app.security import ApiKeyMiddleware, ApiKeys
from app.security_headers import DOCS_POLICIES, SecurityHeaders
from app.settings import Settings, read
from app.slow_readers import SlowReaders

_SLOWEST_READER = 30.0
"""Seconds in which a part of a streamed answer must have been read."""


class Service(FastAPI):
    """FastAPI in our outermost layers, so that the server's own 413 and 500 pass them too."""

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap what FastAPI builds."""
        state = self.state
        production = state.settings.in_production
        stack: ASGIApp = ErrorMiddleware(super().build_middleware_stack())
        # Before anything of a body is read: FastAPI parses forms before it asks dependencies.
        stack = ApiKeyMiddleware(
            stack,
            keys=state.api_keys,
            allowed_hosts=state.settings.allowed_hosts,
            routes=[*state.docs, *(route for one in state.features for route in one.routes)],
        )
        for layer in reversed([layer for one in state.features for layer in one.middleware]):
            stack = layer.cls(stack, *layer.args, **layer.kwargs)
        policies = {} if production else DOCS_POLICIES
        stack = SecurityHeaders(RequestHeadMiddleware(stack), policies=policies, hsts=production)
        return SlowReaders(RequestIdMiddleware(stack), _SLOWEST_READER)


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
    features = load_features(settings) if features is None else features
    app = Service(
        title=settings.service_name,
        openapi_url=None if settings.in_production else "/openapi.json",
        lifespan=Lifespan(settings, features).run,
        max_body_size=MAX_BODY_BYTES,
        form_limits={"max_fields": 100, "max_files": 10, "max_part_size": MAX_BODY_BYTES},
        redirect_slashes=False,  # the redirect would be built from `Host`, which anybody can choose
        responses=problem_responses(),
        generate_unique_id_function=_operation_id,
    )
    app.state.settings = settings
    app.state.api_keys = ApiKeys(settings)
    # The API before the pages: FastAPI asks one router after the other.
    app.state.features = sorted(features, key=_has_pages)
    # Nothing else is there yet. Without keys they are, as all the rest, for this machine only.
    app.state.docs = [(route, bool(settings.api_keys)) for route in app.routes]
    add_error_handlers(app)
    for feature in app.state.features:
        if feature.router is not None:
            app.include_router(feature.router, dependencies=feature.dependencies)
    return app


def _has_pages(feature: Feature) -> bool:
    return feature.router is not None and not feature.router.include_in_schema


def _operation_id(route: APIRoute) -> str:
    """Name operations after their functions, which reads well in generated clients."""
    return route.name


app = create_app()
