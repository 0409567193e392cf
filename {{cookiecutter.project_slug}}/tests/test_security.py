"""API keys: who gets in."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI

from app.main import create_app
from app.security import require_api_key
from app.settings import Environment, Settings

from .conftest import API_KEY

router = APIRouter(dependencies=[Depends(require_api_key)])


@router.get("/guarded")
async def guarded() -> str:
    return "in"


@pytest.fixture
def settings_env(settings_env: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    settings_env.setenv("API_KEYS", f"{API_KEY},clé")
    return settings_env


@pytest.fixture
async def visitor(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client that knows no key."""
    app.include_router(router)
    async with visit(app, "127.0.0.1") as visitor:
        yield visitor


def visit(app: FastAPI, host: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, client=(host, 1234))
    return httpx2.AsyncClient(transport=transport, base_url="http://test")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-API-Key", API_KEY),
        ("x-api-key", API_KEY),
        ("Authorization", f"Bearer {API_KEY}"),
        ("Authorization", f"bearer {API_KEY}"),
        ("X-API-Key", "clé".encode()),
        ("Authorization", "Bearer clé".encode()),
    ],
)
async def test_a_known_key(visitor: httpx2.AsyncClient, name: str, value: str | bytes) -> None:
    response = await visitor.get("/guarded", headers=[(name.encode(), as_bytes(value))])

    assert response.json() == "in"


def as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@pytest.mark.parametrize(
    ("name", "value", "detail"),
    [
        ("X-API-Key", "wrong", "the API key is not known"),
        ("X-API-Key", API_KEY[:-1], "the API key is not known"),
        ("X-API-Key", f"{API_KEY},clé", "the API key is not known"),
        ("X-API-Key", "schlüssel".encode("latin-1"), "the API key is not known"),
        ("X-API-Key", "鍵".encode(), "the API key is not known"),
        ("X-API-Key", b"\xff\xfe", "the API key is not known"),
        ("Authorization", "Bearer wrong", "the API key is not known"),
        ("Authorization", b"Bearer \xff", "the API key is not known"),
        ("X-API-Key", "", "send an API key as X-API-Key or as a bearer token"),
        ("X-Other", "", "send an API key as X-API-Key or as a bearer token"),
        ("Authorization", "Bearer", "send an API key as X-API-Key or as a bearer token"),
        ("Authorization", f"Basic {API_KEY}", "send an API key as X-API-Key or as a bearer token"),
    ],
)
async def test_no_known_key(
    visitor: httpx2.AsyncClient, name: str, value: str | bytes, detail: str
) -> None:
    response = await visitor.get("/guarded", headers=[(name.encode(), as_bytes(value))])

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["detail"] == detail
    assert API_KEY not in response.text


async def test_a_wrong_key_is_not_mended_by_a_right_token(visitor: httpx2.AsyncClient) -> None:
    headers = {"X-API-Key": "wrong", "Authorization": f"Bearer {API_KEY}"}

    assert (await visitor.get("/guarded", headers=headers)).status_code == 401


async def test_health_is_open(visitor: httpx2.AsyncClient) -> None:
    assert (await visitor.get("/health/live")).status_code == 200
    assert (await visitor.get("/health/ready")).status_code == 200


async def test_every_feature_but_health_is_closed(app: FastAPI) -> None:
    schema = app.openapi()

    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) != path.startswith("/health/"), path


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.1.2.3", 200),
        ("::1", 200),
        ("10.0.0.1", 403),
        ("192.168.1.7", 403),
        ("0.0.0.0", 403),  # noqa: S104 - as a client's address
        ("2001:db8::1", 403),
        ("testclient", 403),
        ("", 403),
    ],
)
async def test_without_keys_only_this_machine(
    settings_env: pytest.MonkeyPatch, host: str, status: int
) -> None:
    settings_env.delenv("API_KEYS")
    app = create_app()
    app.include_router(router)

    async with visit(app, host) as visitor:
        response = await visitor.get("/guarded")

    assert response.status_code == status


async def test_without_keys_and_without_an_address(app: FastAPI) -> None:
    app.state.settings = Settings(api_keys=())
    app.include_router(router)

    async def without_client(scope: dict[str, object], receive: object, send: object) -> None:
        del scope["client"]
        await app(scope, receive, send)  # type: ignore[arg-type]

    transport = httpx2.ASGITransport(without_client)  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as visitor:
        response = await visitor.get("/guarded")

    assert response.status_code == 403
    assert "only this machine" in response.json()["detail"]


async def test_the_documentation_is_not_there_in_production(
    production_env: pytest.MonkeyPatch,
) -> None:
    for environment in Environment:
        production_env.setenv("ENVIRONMENT", environment)
        async with visit(create_app(), "127.0.0.1") as visitor:
            for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"):
                response = await visitor.get(path)

                expected = 404 if environment is Environment.PRODUCTION else 200
                assert response.status_code == expected, path
