"""Puts the service together. `app` is what the server runs."""

from collections.abc import Sequence

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from app.errors import BodyLimitProblem, add_error_handlers, problem_responses
from app.feature import Feature, load_features
from app.lifespan import make_lifespan
from app.request_id import RequestIdMiddleware
from app.security import require_api_key
from app.security_headers import DOCS_POLICIES, SecurityHeaders
from app.settings import Settings, read


class Service(FastAPI):
    """FastAPI in our outermost layers, so that the server's own 413 and 500 pass them too."""

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap what FastAPI builds."""
        production = self.state.settings.in_production
        stack: ASGIApp = BodyLimitProblem(super().build_middleware_stack(), self.max_body_size or 0)
        for layer in reversed(self.state.outermost):
            stack = layer.cls(stack, *layer.args, **layer.kwargs)
        policies = {} if production else DOCS_POLICIES
        return RequestIdMiddleware(SecurityHeaders(stack, policies=policies, hsts=production))


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
        lifespan=make_lifespan(settings, features),
        middleware=[m for feature in features for m in feature.middleware],
        max_body_size=settings.max_upload_bytes,
        responses=problem_responses(),
        generate_unique_id_function=_operation_id,
    )
    app.state.settings = settings
    app.state.outermost = [m for feature in features for m in feature.outermost]
    add_error_handlers(app)
    _include_routers(app, features)
    return app


def _include_routers(app: FastAPI, features: Sequence[Feature]) -> None:
    """Include the API before the pages: FastAPI asks one router after the other."""
    routers = [(one.router, one.public) for one in features if one.router is not None]
    for router, public in sorted(routers, key=lambda one: not one[0].include_in_schema):
        app.include_router(router, dependencies=[] if public else [Depends(require_api_key)])


def _operation_id(route: APIRoute) -> str:
    """Name operations after their functions, which reads well in generated clients."""
    return route.name


app = create_app()
