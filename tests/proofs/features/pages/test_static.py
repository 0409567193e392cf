"""The static files of pages."""

from pathlib import Path

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles

import app.pages
from app.feature import Feature, load_features
from app.pages import StaticFolder
from app.service import create_app
from app.settings import Settings
from tests.conftest import API_KEY


@pytest.fixture
def service(settings_env: pytest.MonkeyPatch, tmp_path: Path) -> FastAPI:  # noqa: ARG001 - a fixture
    folder = tmp_path / "static"
    folder.mkdir()
    for name in ("a.css", "a.js", "a.svg", "a.txt"):
        (folder / name).write_text(name, encoding="utf-8")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    router = APIRouter()
    router.mount("/static/mine", StaticFolder(folder))
    router.mount("/private", StaticFiles(directory=folder))
    settings = Settings()
    return create_app(settings, [*load_features(settings), Feature(name="mine", router=router)])


@pytest.fixture
def client(service: FastAPI) -> httpx2.AsyncClient:
    """Return a client without a key."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(service), base_url="http://test")


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.txt", "text/plain; charset=utf-8"),
    ],
)
async def test_static_file_needs_no_key(
    client: httpx2.AsyncClient, name: str, content_type: str
) -> None:
    async with client:
        response = await client.get(f"/static/mine/{name}")
        again = await client.get(
            f"/static/mine/{name}", headers={"If-None-Match": response.headers["ETag"]}
        )

    assert response.text == name
    assert response.headers["Content-Type"] == content_type
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert (again.status_code, again.text) == (304, "")
    assert again.headers["Cache-Control"] == "no-cache"


async def test_other_folders_of_files_need_a_key(client: httpx2.AsyncClient) -> None:
    async with client:
        refused = await client.get("/private/a.txt")
        answered = await client.get("/private/a.txt", headers={"X-API-Key": API_KEY})

    assert (refused.status_code, answered.status_code) == (401, 200)


@pytest.mark.parametrize(
    "path", ["", "/", "nothing.css", "../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt"]
)
async def test_other_paths_are_404(client: httpx2.AsyncClient, path: str) -> None:
    async with client:
        response = await client.get(f"/static/mine/{path}", headers={"X-API-Key": API_KEY})

    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("ranges", ["0-0,2-2,4-4", "nonsense", "99999-"])
async def test_ranges_are_ignored(client: httpx2.AsyncClient, ranges: str) -> None:
    async with client:
        response = await client.get("/static/mine/a.css", headers={"Range": f"bytes={ranges}"})

    assert (response.status_code, response.text) == (200, "a.css")
    assert response.headers["Accept-Ranges"] == "none"


async def test_shared_files_load_nothing_from_other_hosts(client: httpx2.AsyncClient) -> None:
    folder = Path(app.pages.__file__).with_name("static")
    async with client:
        for path in folder.iterdir():
            response = await client.get(f"/static/pages/{path.name}")

            assert response.status_code == 200
            assert "@import" not in response.text
            assert "url(" not in response.text
