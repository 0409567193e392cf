"""API keys and allowed hosts: which requests are accepted, and how callers are named."""

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.routing import APIRoute
from starlette.types import Message
from structlog.contextvars import get_contextvars

from app.feature import Feature
from app.security import MAX_WRONG_KEYS
from app.service import create_app
from app.settings import ConfigurationError

from .conftest import API_KEY, PRODUCTION


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


def visit(
    app: FastAPI, *, client: str = "127.0.0.1", host: str = "localhost:8000", scheme: str = "http"
) -> httpx2.AsyncClient:
    """Return a client without a key that calls `host` from the address `client`."""
    transport = httpx2.ASGITransport(app, client=(client, 1234))
    headers = {"Host": host}
    return httpx2.AsyncClient(transport=transport, base_url=f"{scheme}://test", headers=headers)


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("X-API-Key", API_KEY, 200),
        ("Authorization", f"Bearer {API_KEY}", 200),
        ("X-API-Key", API_KEY[:-1], 401),
        ("Authorization", f"Basic {API_KEY}", 401),
        ("Accept", "*/*", 401),
    ],
)
async def test_requests_need_a_valid_key(app: FastAPI, name: str, value: str, status: int) -> None:
    async with visit(app) as visitor:
        response = await visitor.get("/tasks", headers={name: value})

    assert response.status_code == status
    if status == 401:
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.headers["Content-Type"] == "application/problem+json"
        assert API_KEY not in response.text


async def test_every_route_that_is_not_public_requires_a_key(app: FastAPI) -> None:
    async with visit(app) as visitor:
        for feature in app.state.features:
            for route, is_public in feature.routes:
                if isinstance(route, APIRoute) and not is_public:
                    for method in route.methods or ():
                        response = await visitor.request(method, route.path)
                        assert response.status_code == 401, route.path


async def test_a_public_feature_needs_no_key_and_unknown_paths_stay_hidden(app: FastAPI) -> None:
    async with visit(app) as visitor:
        assert (await visitor.get("/health/live")).status_code == 200
        for path in ("/nowhere", "/tasks/", "/health", "/health/live/more", "//health/live"):
            assert (await visitor.get(path)).status_code == 401, path


async def test_routes_and_the_log_know_the_name_of_a_key(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("API_KEYS", "key-of-the-shop,another-key")
    settings_env.setenv("API_KEY_NAMES", "shop,admin")
    router = APIRouter()
    router.add_api_route("/caller", _caller)
    app = create_app(features=[Feature(name="mine", router=router)])

    async with visit(app) as visitor:
        answer = await visitor.get("/caller", headers={"X-API-Key": "another-key"})

    assert answer.json() == ["admin", "admin"]


def test_key_names_must_be_as_many_as_keys(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("API_KEY_NAMES", "shop,admin,more")

    with pytest.raises(ConfigurationError, match="API_KEY_NAMES: needs one name for each"):
        create_app()


async def _caller(request: Request) -> list[str]:
    return [request.state.caller, get_contextvars()["caller"]]


async def test_a_feature_can_replace_the_key_with_a_dependency_of_its_own(
    settings_env: pytest.MonkeyPatch,  # noqa: ARG001 - create_app reads it
) -> None:
    def require_name(name: str = "") -> None:
        if name != "ann":
            raise HTTPException(403, "only ann")

    router = APIRouter()
    router.add_api_route("/mine", lambda: "hers")
    app = create_app(features=[Feature(name="mine", router=router, auth=require_name)])

    async with visit(app) as visitor:
        assert (await visitor.get("/mine")).status_code == 403
        assert (await visitor.get("/mine?name=ann")).json() == "hers"


@pytest.mark.usefixtures("settings_env")
async def test_a_public_route_does_not_make_a_private_one_public() -> None:
    """The route that answers decides about the key, whichever others match the path."""
    public, private = APIRouter(), APIRouter()
    public.add_api_route("/{anything:path}", lambda: "public", methods=["GET"])
    private.add_api_route("/private", lambda: "private", methods=["GET"])
    private.add_api_route("/public/private", lambda: "private", methods=["POST"])
    features = [
        Feature(name="private", router=private),
        Feature(name="public", router=public, public=True),
    ]
    async with visit(create_app(features=features)) as visitor:
        assert (await visitor.get("/private")).status_code == 401
        assert (await visitor.post("/private")).status_code == 401
        assert (await visitor.post("/public/private")).status_code == 401
        assert (await visitor.get("/other")).json() == "public"
        assert (await visitor.post("/other")).status_code == 401


@pytest.mark.parametrize("path", ["/nowhere", "/tasks/x/cancel"])
async def test_the_body_of_a_request_without_a_key_is_not_read(app: FastAPI, path: str) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"9999")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await app({**scope, "query_string": b"", "client": ("127.0.0.1", 1)}, receive, send)

    assert sent[0]["status"] == 401


async def test_wrong_keys_are_logged_and_limited_per_client(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {"X-API-Key": "wrong"}
    async with visit(app, client="10.0.0.1") as guesser:
        answers = [await guesser.get("/tasks", headers=wrong) for _ in range(MAX_WRONG_KEYS + 5)]
        valid = await guesser.get("/tasks", headers={"X-API-Key": API_KEY})
    async with visit(app, client="10.0.0.2") as other:
        elsewhere = await other.get("/tasks", headers=wrong)

    assert [answer.status_code for answer in answers] == [401] * MAX_WRONG_KEYS + [429] * 5
    assert answers[-1].headers["Retry-After"] == "60"
    assert answers[-1].headers["Content-Type"] == "application/problem+json"
    assert valid.status_code == 200  # guesses do not lock the owner of a key out
    assert elsewhere.status_code == 401
    assert caplog.text.count("unknown API key") == MAX_WRONG_KEYS + 1
    assert "10.0.0.1" in caplog.text


async def test_without_keys_only_local_requests_pass(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.delenv("API_KEYS")
    app = create_app()
    for client, host, header, status in (
        ("127.0.0.1", "localhost:8000", "Accept", 200),
        ("::1", "[::1]:8000", "Accept", 200),
        ("10.0.0.1", "localhost", "Accept", 403),
        # DNS rebinding: a name of the attacker's that resolves to this machine
        ("127.0.0.1", "evil.example:8000", "Accept", 403),
        ("127.0.0.1", "localhost", "X-Forwarded-For", 403),
    ):
        async with visit(app, client=client, host=host) as visitor:
            response = await visitor.get("/docs", headers={header: "127.0.0.1"})

        assert response.status_code == status, (client, host, header)


async def test_only_allowed_hosts_are_answered(settings_env: pytest.MonkeyPatch) -> None:
    settings_env.setenv("ALLOWED_HOSTS", "api.example.com, *.example.org")
    app = create_app()
    app.add_api_route("/test-security", lambda: "in")
    for host, status in {
        "api.example.com": 200,
        "API.example.com:8443": 200,
        "a.b.example.org": 200,
        "example.org": 400,
        "evil-example.org": 400,
        "api.example.com.evil.example": 400,
        "": 400,
    }.items():
        async with visit(app, host=host) as visitor:
            response = await visitor.get("/test-security", headers={"X-API-Key": API_KEY})
            health = await visitor.get("/health/live")

        assert response.status_code == status, host
        assert health.status_code == 200  # probes use an IP address as the host


@pytest.mark.parametrize("environment", ["development", "test", "production"])
async def test_only_production_hides_the_api_docs_and_sends_hsts(
    production_env: pytest.MonkeyPatch, environment: str
) -> None:
    production_env.setenv("ENVIRONMENT", environment)
    app = create_app()
    in_production = environment == "production"
    for scheme in ("http", "https"):
        async with visit(app, scheme=scheme) as visitor:
            for path in ("/docs", "/openapi.json"):
                response = await visitor.get(path)
                with_key = await visitor.get(path, headers={"X-API-Key": PRODUCTION["API_KEYS"]})

                assert response.status_code == (401 if in_production else 200), path
                assert with_key.status_code == (404 if in_production else 200), path
                has_hsts = "Strict-Transport-Security" in response.headers
                assert has_hsts is (in_production and scheme == "https")


async def test_no_redirect_is_built_from_the_host_header(client: httpx2.AsyncClient) -> None:
    for path in ("/tasks/", "/health/live/"):
        response = await client.get(path, headers={"Host": "evil.example"})

        assert "Location" not in response.headers, path
