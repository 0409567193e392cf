"""API keys: which requests are accepted, and the name of their caller."""

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Request, WebSocket
from starlette.types import Message

from app.security import MAX_WRONG_KEYS, ApiKeys
from app.service import create_app
from app.settings import Settings
from tests.conftest import API_KEY, TEST, serve

router = APIRouter()
NUMBERS = count(1)


@router.get("/guarded")
async def guarded() -> str:
    return "in"


@router.get("/caller")
async def caller(request: Request) -> str | None:
    name: str | None = request.state.caller
    return name


@router.websocket("/guarded-socket")
async def guarded_socket(socket: WebSocket) -> None:
    await socket.accept()


@pytest.fixture(scope="module")
async def app(shared_database_url: str) -> AsyncIterator[FastAPI]:
    variables = {**TEST, "API_KEYS": f"{API_KEY},clé", "DATABASE_URL": shared_database_url}
    async with serve(**variables) as app:
        app.include_router(router)
        yield app


@pytest.fixture
async def visitor(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client without an API key. It has a unique address, as wrong keys are counted."""
    async with visit(app, f"127.0.0.{next(NUMBERS)}") as visitor:
        yield visitor


def visit(
    app: FastAPI, client: str | None = "127.0.0.1", host: str = "localhost:8000"
) -> httpx2.AsyncClient:
    address: Any = client and (client, 1234)
    transport = httpx2.ASGITransport(app, client=address)
    return httpx2.AsyncClient(transport=transport, base_url="http://test", headers={"Host": host})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-api-key", API_KEY),
        ("Authorization", f"bearer {API_KEY}"),
        ("X-API-Key", "clé".encode()),
        ("Authorization", "Bearer clé".encode()),
    ],
)
async def test_known_key_passes(visitor: httpx2.AsyncClient, name: str, value: str | bytes) -> None:
    response = await visitor.get("/guarded", headers=[(name.encode(), as_bytes(value))])

    assert response.json() == "in"


def as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@pytest.mark.parametrize(
    ("name", "value", "detail"),
    [
        ("X-API-Key", "wrong", "the API key is not known"),
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
async def test_request_without_a_known_key_is_401(
    visitor: httpx2.AsyncClient, name: str, value: str | bytes, detail: str
) -> None:
    response = await visitor.get("/guarded", headers=[(name.encode(), as_bytes(value))])

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["detail"] == detail
    assert API_KEY not in response.text


async def test_key_without_a_name_gives_no_caller_name(visitor: httpx2.AsyncClient) -> None:
    assert (await visitor.get("/caller", headers={"X-API-Key": API_KEY})).json() is None


async def test_wrong_key_is_refused_despite_a_valid_token(visitor: httpx2.AsyncClient) -> None:
    headers = {"X-API-Key": "wrong", "Authorization": f"Bearer {API_KEY}"}

    assert (await visitor.get("/guarded", headers=headers)).status_code == 401


async def connect(app: FastAPI, *headers: tuple[bytes, bytes]) -> str:
    """Open a WebSocket from this machine; return "accept" or "close"."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/guarded-socket", "client": ("127.0.0.1", 1)}
    await app({**scope, "query_string": b"", "headers": headers}, receive, send)
    return str(sent[0]["type"]).removeprefix("websocket.")


async def test_websocket_needs_a_key(app: FastAPI) -> None:
    assert await connect(app) == "close"
    assert await connect(app, (b"x-api-key", API_KEY.encode())) == "accept"


@pytest.mark.parametrize(
    ("origin", "answer"),
    [
        (b"http://localhost:5173", "accept"),
        (b"http://[::1]", "accept"),
        (b"https://example.com", "close"),
        (b"http://localhost.example.com", "close"),
        (b"null", "close"),
    ],
)
async def test_websocket_from_another_site_is_refused_when_no_keys_are_set(
    settings_env: pytest.MonkeyPatch, origin: bytes, answer: str
) -> None:
    settings_env.delenv("API_KEYS")
    app = create_app()
    app.include_router(router)

    assert await connect(app, (b"host", b"localhost"), (b"origin", origin)) == answer


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:5173", 200),
        ("https://example.com", 403),
        ("null", 403),
    ],
)
async def test_page_of_another_host_is_refused_when_no_keys_are_set(
    settings_env: pytest.MonkeyPatch, origin: str, status: int
) -> None:
    settings_env.delenv("API_KEYS")
    settings_env.setenv("CORS_ORIGINS", "*")
    async with visit(create_app()) as visitor:
        response = await visitor.get("/docs", headers={"Origin": origin, "X-API-Key": "made-up"})

    assert response.status_code == status


def test_number_of_counted_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.security._MAX_CLIENTS", 10)
    keys = ApiKeys(Settings(api_keys=(API_KEY,)))
    for number in range(100):
        keys.refusal(f"10.0.0.{number}")

        assert len(keys._wrong) <= 10


async def test_client_addresses_are_cut_before_they_are_counted(app: FastAPI) -> None:
    for number in range(MAX_WRONG_KEYS + 1):
        async with visit(app, client=f"{'x' * 15_000}{number}") as visitor:
            answer = await visitor.get("/guarded", headers={"X-API-Key": "wrong"})

    assert answer.status_code == 429  # all addresses count as one


async def test_wrong_keys_sent_to_public_routes_are_not_counted(
    visitor: httpx2.AsyncClient,
) -> None:
    wrong = {"Authorization": "Bearer of another kind"}
    for _ in range(MAX_WRONG_KEYS + 1):
        assert (await visitor.get("/health/live", headers=wrong)).status_code == 200

    assert (await visitor.get("/guarded", headers=wrong)).status_code == 401  # not yet 429


async def test_wrong_keys_are_forgotten_after_a_minute() -> None:
    now = 0.0
    keys = ApiKeys(Settings(api_keys=(API_KEY,)), lambda: now)
    errors = [keys.refusal("10.0.0.1") for _ in range(MAX_WRONG_KEYS + 1)]
    now = 61.0
    errors.append(keys.refusal("10.0.0.1"))

    assert [error.status_code for error in errors] == [*[401] * MAX_WRONG_KEYS, 429, 401]


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("127.0.0.1", 200),
        ("127.1.2.3", 200),
        ("::1", 200),
        ("10.0.0.1", 403),
        ("192.168.1.7", 403),
        ("0.0.0.0", 403),  # noqa: S104 - as a client's address
        ("2001:db8::1", 403),
        ("testclient", 403),
        (None, 403),  # through a Unix socket
    ],
)
async def test_only_local_clients_are_answered_when_no_keys_are_set(
    settings_env: pytest.MonkeyPatch, client: str | None, status: int
) -> None:
    settings_env.delenv("API_KEYS")
    app = create_app()
    app.include_router(router)

    async with visit(app, client) as visitor:
        response = await visitor.get("/guarded")

    assert response.status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example:8000", 403),  # an attacker's DNS may point it at this machine
        ("localhost.evil.example", 403),
        ("192.168.1.7", 403),
        ("[::1]evil.example", 403),
        ("localhost:evil.example", 403),
        ("[", 403),
        ("", 403),
    ],
)
async def test_only_local_host_names_are_answered_when_no_keys_are_set(
    settings_env: pytest.MonkeyPatch, host: str, status: int
) -> None:
    settings_env.delenv("API_KEYS")
    async with visit(create_app(), host=host) as visitor:
        assert (await visitor.get("/docs")).status_code == status


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", "Via"]
)
async def test_proxied_requests_are_refused_when_no_keys_are_set(
    settings_env: pytest.MonkeyPatch, header: str
) -> None:
    settings_env.delenv("API_KEYS")
    async with visit(create_app()) as visitor:
        response = await visitor.get("/docs", headers={header: "127.0.0.1"})

    assert response.status_code == 403
    assert "proxy" in response.json()["detail"]
