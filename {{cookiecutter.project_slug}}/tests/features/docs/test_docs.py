"""The API docs, and the redirect from `/`."""

import httpx2
import pytest
from fastapi import FastAPI

from app.service import create_app
from app.settings import DESCRIPTION, NAME, VERSION


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


async def test_the_root_redirects_to_the_docs_except_in_production(
    client: httpx2.AsyncClient, production_env: pytest.MonkeyPatch
) -> None:
    production_env.setenv("ENVIRONMENT", "production")
    production = httpx2.ASGITransport(create_app(), root_path="/svc")
    async with httpx2.AsyncClient(transport=production, base_url="http://test/svc") as visitor:
        for answer, path in ((await client.get("/"), "/docs"), (await visitor.get("/"), "/svc/")):
            assert answer.status_code == 307
            assert answer.headers["Location"].startswith(path)


async def test_the_docs_name_the_service_and_the_cdn_that_they_need(
    client: httpx2.AsyncClient,
) -> None:
    page, schema = await client.get("/docs"), await client.get("/openapi.json")

    assert "cdn.jsdelivr.net. If it does not load" in page.text
    info = schema.json()["info"]
    expected = (NAME, DESCRIPTION, VERSION)
    assert (info["title"], info["description"], info["version"]) == expected
